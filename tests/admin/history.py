"""Runs made by appending events, as the engine does, without running any code."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from django_hookflow.events import log

ERROR = {
    "type": "shop.errors.CardDeclined",
    "message": "the card was declined",
    "traceback": 'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nshop.errors.CardDeclined: …',
}


def start(
    run_id: str = "order-1", workflow_id: str = "shop.process", data: Any = None, actor: str | None = None
) -> UUID:
    """A run that has been triggered; its primary key."""
    started = log.start(uuid4(), run_id, workflow_id, json.dumps(data or {"order": 1}), actor=actor, grace=None)
    assert started.created
    return started.run_uid


def add(run: UUID, type: str, payload: Any, step_id: str | None = None, actor: str | None = None) -> int:
    """One more event of a run; its seq."""
    return log.append(run, None, [log.NewEvent(type, json.dumps(payload), step_id)], actor=actor)


def add_steps(run: UUID, count: int, result: Any = "done") -> None:
    payload = json.dumps({"kind": "run", "attempt": 1, "result": result})
    log.append(run, None, [log.NewEvent("step.completed", payload, f"step-{number}") for number in range(count)])


def complete(run: UUID, result: Any = "fine") -> None:
    add(run, "turn.started", {"worker": "w"})
    add(run, "run.completed", {"result": result})


def fail(run: UUID, step_id: str | None = "charge", error: dict[str, str] | None = None, attempts: int = 4) -> None:
    add(run, "turn.started", {"worker": "w"})
    add(run, "run.failed", {"error": error or ERROR, "attempts": attempts}, step_id)
