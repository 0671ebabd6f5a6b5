"""What events hold, whatever it is: a payload may be redacted, a fact may be missing or of another shape."""

from __future__ import annotations

import datetime
from typing import Any, Protocol, TypeGuard

from django.utils.dateparse import parse_datetime

#: Beyond the sleep of a hundred years that a step may take, dates end.
MAX_SECONDS = 100 * 366 * 86_400.0


class Event(Protocol):
    """What a story is made of: an :class:`~.reading.EventExcerpt`, or a ``WorkflowEvent``."""

    seq: Any
    type: Any
    step_id: Any
    actor: Any
    facts: Any
    payload: Any
    recorded_at: Any

    @property
    def is_redacted(self) -> bool: ...


def facts_of(event: Event) -> dict[str, Any]:
    return event.facts if isinstance(event.facts, dict) else {}


def payload_of(event: Event) -> dict[str, Any]:
    return event.payload if isinstance(event.payload, dict) else {}


def error_of(event: Event) -> dict[str, str]:
    """The error of an event, its parts as text: its type is a fact, the rest may be redacted."""
    payload = payload_of(event)
    message, traceback = text(payload.get("message")), text(payload.get("traceback"))
    return {"type": text(facts_of(event).get("error")), "message": message, "traceback": traceback}


def text(value: Any) -> str:
    return "" if value is None else str(value)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def seconds(value: Any) -> float:
    # Written so that what is not a number is nothing.
    return min(float(value), MAX_SECONDS) if isinstance(value, (int, float)) and value > 0 else 0.0


def moment(value: Any) -> datetime.datetime | None:
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
