"""Runs made by appending events, as the engine does, without running any code."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

from django_hookflow.events import log, types
from django_hookflow.runtime.failures import fingerprint

ERROR = {
    "type": "shop.errors.CardDeclined",
    "message": "the card was declined",
    "traceback": 'Traceback (most recent call last):\n  File "shop.py", line 7, in charge\nshop.errors.CardDeclined: …',
}


def start(
    run_id: str = "order-1",
    workflow_id: str = "shop.process",
    data: Any = None,
    actor: str | None = None,
    **payload: Any,
) -> UUID:
    """A run that has been triggered; its primary key."""
    payload = {"data": data or {"order": 1}, **payload}
    started = log.start(uuid4(), run_id, workflow_id, "{}", json.dumps(payload), actor=actor, sending=log.LEFT_TO_RELAY)
    assert started.created
    return started.run_uid


def event(type: str, step_id: str | None = None, error: dict[str, str] | None = None, **given: Any) -> log.NewEvent:
    """An event with what is given among its facts or in its payload, as the catalogue has it."""
    in_payload = types.CATALOGUE[type].payload
    if error is not None:
        given |= {"error": error["type"], **{part: error[part] for part in in_payload if part in error}}
    assert {*given} <= {*types.CATALOGUE[type].facts, *in_payload}, given
    facts = {name: value for name, value in given.items() if name not in in_payload and value is not None}
    payload = {name: value for name, value in given.items() if name in in_payload}
    return log.NewEvent(type, step_id, json.dumps(facts), json.dumps(payload) if payload else None)


def add(run: UUID, type: str, step_id: str | None = None, actor: str | None = None, **given: Any) -> int:
    """One more event of a run; its seq."""
    return log.append(run, None, [event(type, step_id, **given)], actor=actor).seq


def add_steps(run: UUID, count: int, result: Any = "done") -> None:
    steps = range(count)
    log.append(
        run,
        None,
        [event("step.completed", f"step-{n}", kind="run", attempt=1, took=0.001, result=result) for n in steps],
    )


def sleep(run: UUID, seconds: float = 3600, step_id: str = "wait") -> None:
    """A turn that ends with a sleep, its next one announced."""
    turn = add(run, "turn.started", worker="w")
    suspended = event("step.suspended", step_id, kind="sleep", seconds=seconds, attempt=1)
    log.append(run, turn, [suspended], ends_turn=True)


def fail_attempt(
    run: UUID, step_id: str = "charge", retry_in: float | None = None, attempt: int = 1, **given: Any
) -> None:
    """A failed attempt and, if another one is to come, the pause before it."""
    failed = {"kind": "run", "attempt": attempt, "took": 0.1, "retry_in": retry_in, "error": ERROR, **given}
    events = [event("step.failed", step_id, **failed)]
    if retry_in is not None:
        events.append(event("step.suspended", step_id, kind="backoff", seconds=retry_in, attempt=attempt))
    log.append(run, None, events)


def doubt(run: UUID, step_id: str = "charge") -> None:
    add(run, "turn.started", worker="w")
    add(run, "step.suspended", step_id, kind="doubt", step_kind="call", attempt=1)


def complete(run: UUID, result: Any = "fine") -> None:
    add(run, "turn.started", worker="w")
    add(run, "run.completed", result=result)


def fail(run: UUID, step_id: str | None = "charge", error: dict[str, str] | None = None, attempts: int = 4) -> None:
    error = error or ERROR
    cause = fingerprint(step_id, error["type"], error["message"])
    add(run, "turn.started", worker="w")
    add(run, "run.failed", step_id, error=error, attempts=attempts, fingerprint=cause)
