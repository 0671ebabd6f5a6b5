"""What a workflow says of how far it is."""

from __future__ import annotations

import json
from typing import Any

from django_hookflow.durations import is_finite
from django_hookflow.events import types
from django_hookflow.events.log import NewEvent
from django_hookflow.texts import checked_note

#: More than anything that is counted; every program reads it exactly.
MOST = 10**15


def progress_event(done: Any, total: Any, note: Any) -> NewEvent:
    """The event that says it. Raises TypeError, ValueError and InvalidText."""
    facts = {"done": _checked("done", done)}
    if total is not None:
        facts["total"] = _checked("total", total)
        if facts["done"] > facts["total"]:
            raise ValueError(f"ctx.progress: done ({done!r}) is greater than total ({total!r})")
    payload = json.dumps({"note": text}, ensure_ascii=False) if (text := checked_note(note)) else None
    return NewEvent(types.RUN_PROGRESSED, None, json.dumps(facts), payload)


def _checked(name: str, number: Any) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not is_finite(number):
        raise TypeError(f"ctx.progress: {name} must be a finite number, not {number!r:.100}")
    if not 0 <= number <= MOST:
        raise ValueError(f"ctx.progress: {name} must be from 0 to {MOST:,}, not {number!r:.100}")
    return number
