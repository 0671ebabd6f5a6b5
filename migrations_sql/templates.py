"""Migrations whose SQL is expanded when they are written: a text that must stand in several functions stands once here.

A template is SQL with ``{{name}}`` and ``{{name: argument}}`` in it. After the SQL come the texts: ``--@ name`` on a line of
its own begins one (anything longer than a name is a comment), and ``{{which}}`` in it is the argument. Names that begin
with ``catalogue.`` come from :mod:`django_hookflow.events.types`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from django_hookflow.events import types

if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATES = Path(__file__).parent / "templates"

_PLACE = re.compile(r"\{\{([a-z_.]+)(?:: ([^}]*))?\}\}")
_MARK = re.compile(r"^--@ ?(.*)$", re.MULTILINE)


def expanded_files() -> dict[str, str]:
    """The name and the text of each file that is made from a template."""
    return {path.name: expand(path.read_text(encoding="utf-8")) for path in sorted(TEMPLATES.glob("*.sql"))}


def expand(template: str) -> str:
    """The SQL that a template stands for."""
    body, *parts = _MARK.split(template)
    texts = {
        name: text.removeprefix("\n").rstrip("\n")
        for name, text in zip(parts[::2], parts[1::2], strict=True)
        if re.fullmatch("[a-z_]+", name)
    }
    return _filled(body.rstrip() + "\n", texts | _from_catalogue(), "")


def _filled(text: str, texts: dict[str, str], argument: str) -> str:
    def fill(place: re.Match[str]) -> str:
        name = place[1]
        if name == "which":
            return argument
        before = place.string[: place.start()].rpartition("\n")[2]
        indentation = "" if before.strip() else before
        return _filled(texts[name], texts, place[2] or "").replace("\n", f"\n{indentation}")

    return re.sub(r" +(?=\)?$)", "", _PLACE.sub(fill, text), flags=re.MULTILINE)


def _from_catalogue() -> dict[str, str]:
    all_types = list(types.CATALOGUE.values())
    of_run = [each for each in all_types if each.waits_begun and not each.is_of_step]
    statuses = [f"    WHEN {_quoted(each.name)} THEN {_quoted(each.status)}" for each in all_types if each.status]
    waiting = " ".join(f"WHEN {_quoted(kind)} THEN {_quoted(status)}" for kind, status in types.STATUS_WHILE.items())
    statuses.append(f"    WHEN {_quoted(types.STEP_SUSPENDED)} THEN CASE p_kind {waiting} END")
    return {
        "catalogue.status_cases": "\n".join(statuses),
        "catalogue.ends_run": _list(each.name for each in all_types if each.ends_run),
        "catalogue.acts": _list(each.name for each in all_types if each.is_act),
        "catalogue.length_cases": " ".join(
            f"WHEN {_quoted(each.name)} THEN {_quoted(each.length)}" for each in all_types if each.length
        ),
        "catalogue.settles_step": _list(each.name for each in all_types if each.settles_step),
        "catalogue.settles_step_only": _list(each.name for each in all_types if _only_settles_step(each)),
        "catalogue.settles_run_cases": "\n".join(
            f"    WHEN {_quoted(each.name)} THEN ARRAY[{_list(each.settles_run)}]"
            for each in all_types
            if each.settles_run
        ),
        "catalogue.waits_begun_of_run": _list(each.name for each in of_run),
        "catalogue.waits_begun_if_timed": _list(each.name for each in of_run if each.length),
        "catalogue.waits_begun_cases": " ".join(
            f"WHEN {_quoted(each.name)} THEN {_quoted(each.waits_begun)}" for each in of_run
        ),
    }


def _only_settles_step(each: types.EventType) -> bool:
    """Whether an event of this type ends waits of its step, and nothing else of any projection follows from it."""
    nothing_else = types.EventType(each.name, each.meaning, each.facts, each.payload, settles_step=True)
    return each == nothing_else and each.name != types.STEP_FAILED  # which moves the run's updated_at


def _list(names: Iterable[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str | None) -> str:
    return f"'{name}'"
