"""Spans of time and numbers of things, in words."""

from __future__ import annotations

import datetime


def in_words(seconds: float) -> str:
    """A time span in its largest units: ``4 ms``, ``0.35 s``, ``12.5 s``, ``41 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    seconds = max(0.0, seconds)
    if 0.0005 <= seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{_without_zeros(f'{seconds:.2f}' if seconds < 10 else f'{seconds:.1f}')} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _two(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    return _two(hours, "h", minutes, "min") if hours < 24 else _two(hours // 24, "d", hours % 24, "h")


def until_in_words(moment: datetime.datetime, now: datetime.datetime) -> str:
    """How long it is from ``now`` to ``moment``, or how long ago, in whole seconds."""
    return in_words(round(abs((moment - now).total_seconds())))


def count(number: int, thing: str) -> str:
    """``1 step``, ``2,000 steps``, ``2 retries``."""
    if number == 1:
        return f"1 {thing}"
    return f"{number:,} {thing[:-1]}ies" if thing.endswith("ry") else f"{number:,} {thing}s"


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"


def _without_zeros(number: str) -> str:
    return number.rstrip("0").rstrip(".")
