"""How long something took, lasts or is away, as people read it: one way for pages, lists, terminals and commands."""

from __future__ import annotations

import datetime
import math
from typing import Any

from django_hookflow.clock import clock

#: A length of time, in seconds where it is a number.
Duration = float | datetime.timedelta

#: Seconds; a hundred years keep every date PostgreSQL and Python compute with in range.
MAX_SLEEP = 100 * 366 * 86_400
#: In the place of moments before it, which are not less over.
LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)
#: Ten years: whatever it is added to, the moment is one that PostgreSQL has.
LONGEST_SECONDS = 10 * 366 * 86_400.0


def in_seconds(duration: Any) -> Any:
    """A duration in seconds if it is a ``timedelta``; anything else as it is, for whoever asks to check."""
    return duration.total_seconds() if isinstance(duration, datetime.timedelta) else duration


def checked_seconds(name: str, duration: Any) -> float:
    """A duration of at most a hundred years, in seconds; raises TypeError or ValueError, which begin with its ``name``."""
    seconds = in_seconds(duration)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not is_finite(seconds):
        raise TypeError(f"{name} must be a finite number of seconds or a timedelta, not {duration!r:.100}")
    if not 0 <= seconds <= MAX_SLEEP:
        raise ValueError(f"{name} must be from 0 to {MAX_SLEEP}, not {duration!r:.100}")
    return seconds


def is_finite(number: float) -> bool:
    """Whether it is neither NaN nor an infinity; an int is neither, however large."""
    return isinstance(number, int) or math.isfinite(number)


def checked_moment(whose: str, moment: Any) -> str:
    """A moment at most a hundred years ahead, as facts have it: ISO 8601, in UTC, to the microsecond.

    Raises TypeError for what is no ``datetime``, and ValueError for one without a time zone or too far away.
    """
    if not isinstance(moment, datetime.datetime):
        raise TypeError(f"{whose}: the moment must be a datetime with a time zone, not {moment!r:.100}")
    if moment.utcoffset() is None:
        raise ValueError(
            f"{whose}: {moment!r:.100} has no time zone: use ctx.now(), django.utils.timezone.now() or "
            "django.utils.timezone.make_aware()"
        )
    try:
        text = max(moment.astimezone(datetime.timezone.utc), LONG_AGO).isoformat(timespec="microseconds")
        is_near = moment.timestamp() <= clock.time() + MAX_SLEEP
    except OverflowError:  # in UTC it is beyond the first or the last year that there is
        is_near = False
    if not is_near:
        raise ValueError(
            f"{whose}: {moment!r:.100} is more than a hundred years in the future, or cannot be converted to UTC"
        )
    return text.removesuffix("+00:00") + "Z"


def is_time_limit(seconds: object) -> bool:
    """Whether it is a number of seconds, above 0 and at most ten years."""
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds <= LONGEST_SECONDS


def format_duration(seconds: float) -> str:
    """A time span in its largest units: ``0.41 ms``, ``350 ms``, ``2.5 s``, ``41 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``.

    Less than a microsecond, and what is negative, is ``0 s``.
    """
    if seconds < 0.9995:
        thousandths = round(max(0.0, seconds) * 1000, 3)
        return f"{thousandths:.3g} ms" if thousandths else "0 s"
    if seconds < 59.95:
        return f"{round(seconds, 2 if seconds < 10 else 1):g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _two(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    return _two(hours, "h", minutes, "min") if hours < 24 else _two(hours // 24, "d", hours % 24, "h")


def format_until(moment: datetime.datetime, now: datetime.datetime) -> str:
    """How long it is from ``now`` to ``moment``, or how long ago, in whole seconds."""
    return format_duration(round(abs((moment - now).total_seconds())))


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large:,} {unit} {small} {smaller}" if small else f"{large:,} {unit}"
