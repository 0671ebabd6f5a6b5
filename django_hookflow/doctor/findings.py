"""What the doctor says: one finding for each thing that was looked at, good or bad."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from django.core import checks
from django.core.checks import CheckMessage

Level = Literal["ok", "info", "warning", "error"]
#: From the best to the worst.
LEVELS: tuple[Level, ...] = ("ok", "info", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """``code`` is stable, for programs: ``area.what``, or the id of a system check. ``way_out`` is "" if all is well."""

    code: str
    level: Level
    seen: str
    way_out: str = ""


def ok(code: str, seen: str) -> Finding:
    return Finding(code, "ok", seen)


def info(code: str, seen: str, way_out: str) -> Finding:
    return Finding(code, "info", seen, way_out)


def warning(code: str, seen: str, way_out: str) -> Finding:
    return Finding(code, "warning", seen, way_out)


def error(code: str, seen: str, way_out: str) -> Finding:
    return Finding(code, "error", seen, way_out)


def worst_of(levels: Iterable[Level]) -> Level:
    return max(levels, key=LEVELS.index, default="ok")


def from_checks(messages: Iterable[CheckMessage], *, otherwise: Finding) -> Iterator[Finding]:
    """What system checks say, without what the project has silenced; ``otherwise`` if they say nothing."""
    found = [from_check(message) for message in messages if not message.is_silenced()]
    yield from found or [otherwise]


def from_check(message: CheckMessage) -> Finding:
    level: Level = "info"
    if message.level >= checks.WARNING:
        level = "error" if message.level >= checks.ERROR else "warning"
    return Finding(message.id or "", level, str(message.msg), str(message.hint or ""))
