"""What was found, for people and for programs.

The JSON is one object. Fields are added to it and none is renamed or removed as long as ``format`` stays 1::

    {"format": 1, "level": "warning", "exit_code": 0,
     "findings": [{"area": "relay", "code": "relay.late", "level": "warning", "seen": "…", "way_out": "…"}],
     "skipped": [{"area": "address", "why": "--offline"}]}

``level`` is the worst of the findings' levels: ok, info, warning, error. ``way_out`` is "" where all is well.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from django_hookflow.doctor.database import UNREACHABLE
from django_hookflow.doctor.examination import Examined
from django_hookflow.doctor.findings import Finding, worst_of
from django_hookflow.terminals import clean, counted

WIDTH = 80
ALL_WELL, ERRORS, NO_DATABASE = 0, 1, 2
#: Where a finding's text begins, behind its level.
_INDENT = 11

Paint = Callable[[str, str], str]


def exit_code(examined: Iterable[Examined]) -> int:
    """0 without errors, 1 with, 2 if the database could not be looked at."""
    findings = [finding for area in examined for finding in area.findings]
    if any(finding.code == UNREACHABLE for finding in findings):
        return NO_DATABASE
    return ERRORS if any(finding.level == "error" for finding in findings) else ALL_WELL


def as_json(examined: list[Examined]) -> dict[str, Any]:
    findings = [{"area": area.area, **asdict(finding)} for area in examined for finding in area.findings]
    return {
        "format": 1,
        "level": worst_of(finding["level"] for finding in findings),
        "exit_code": exit_code(examined),
        "findings": findings,
        "skipped": [{"area": area.area, "why": area.skipped} for area in examined if area.skipped],
    }


def lines_of(area: Examined, paint: Paint) -> Iterator[str]:
    """The lines that a person reads, none wider than a terminal but for words that are. ``paint(level, text)`` colours."""
    yield area.area
    if area.skipped:
        yield f"  skipped  {area.skipped}"
    for finding in area.findings:
        yield from _lines_of(finding, paint)


def summary(examined: Iterable[Examined]) -> str:
    counts = Counter(finding.level for area in examined for finding in area.findings)
    skipped = sum(bool(area.skipped) for area in examined)
    found = f"{counted(counts['error'], 'error')}, {counted(counts['warning'], 'warning')}"
    return f"{found}, {counted(skipped, 'area')} skipped" if skipped else found


def _lines_of(finding: Finding, paint: Paint) -> Iterator[str]:
    code = f" ({finding.code.removeprefix('django_hookflow.')})" if finding.code.startswith("django_hookflow.") else ""
    first, *rest = _wrapped(finding.seen + code)
    yield f"  {paint(finding.level, finding.level)}{' ' * (_INDENT - 2 - len(finding.level))}{first}"
    yield from (" " * _INDENT + line for line in rest)
    if finding.way_out:
        for number, line in enumerate(_wrapped(finding.way_out, narrower=3)):
            yield f"{' ' * _INDENT}{'   ' if number else '-> '}{line}"


def _wrapped(text: str, narrower: int = 0) -> list[str]:
    # Addresses and commands stay in one piece, to be copied.
    width = WIDTH - _INDENT - narrower
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False) or [""]
