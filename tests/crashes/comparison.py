"""What a run came to, in a form in which a crashed run and an undisturbed one must be equal.

Left out is only what says how often somebody tried, since that is what a crash changes:

* ``turn.started`` and ``turn.abandoned``: how many deliveries it took;
* ``step.failed`` with a next attempt, when the error is the cut itself (the step was in the middle of its own ORM work):
  the tests allow one, and none of another cause beyond those of the undisturbed run;
* a repeated ``step.intended``; ``step.doubted`` and ``step.resolved``, for the one step that asks;
* the number of the attempt in what remains, ``resolved`` in the record of a step that an operator settled.

Times and positions are not compared; run ids and the random value of the plain step are replaced by their names, so a
result that mixes two executions shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django_hookflow.models import DeadLetterEntry, Lease, OutboxMessage, StepExecution, WorkflowEvent, WorkflowRun
from tests.testapp.models import LedgerEntry

BOOKKEEPING = frozenset({"turn.started", "turn.abandoned", "step.doubted", "step.resolved"})
#: What Django raises in user code whose connection is cut.
OF_A_CUT = ("django.db.utils.OperationalError", "django.db.utils.InterfaceError")


@dataclass(frozen=True)
class Outcome:
    """A run's log, projections, effects, and what is left in the tables of delivery."""

    log: list[Any]
    run: dict[str, Any]
    steps: list[Any]
    dead_letters: int
    ledger: list[Any]
    left_over: int


def outcome_of(run_id: str) -> Outcome:
    run = WorkflowRun.objects.get(run_id=run_id)
    events = list(WorkflowEvent.objects.filter(workflow_run=run).order_by("seq"))
    nonce = next(e.payload["result"]["nonce"] for e in events if e.type == "step.completed" and e.payload)
    steps = StepExecution.objects.filter(workflow_run=run).order_by("seq")
    ledger = LedgerEntry.objects.filter(account__startswith=run_id).order_by("account", "id")
    told = Outcome(
        log=_told(events),
        run={
            name: getattr(run, name) for name in ("workflow_id", "status", "data", "result", "error_message", "wake_at")
        },
        steps=[(step.step_id, step.kind, step.result) for step in steps],
        dead_letters=DeadLetterEntry.objects.filter(run_uid=run.run_uid).count(),
        ledger=[(entry.account, entry.amount, entry.reference) for entry in ledger],
        left_over=OutboxMessage.objects.filter(run_uid=run.run_uid).count()
        + Lease.objects.filter(run_uid=run.run_uid).count(),
    )
    return Outcome(**{name: _named(value, run_id, nonce) for name, value in vars(told).items()})


def failures_by_cut(run_id: str) -> int:
    """How many attempts failed because the connection was cut under them."""
    events = WorkflowEvent.objects.filter(workflow_run__run_id=run_id, type="step.failed")
    return sum(_is_of_a_cut(event) for event in events)


def _told(events: list[WorkflowEvent]) -> list[Any]:
    told: list[Any] = []
    intended: set[str | None] = set()
    for event in events:
        if event.type in BOOKKEEPING or (event.type == "step.failed" and _is_of_a_cut(event)):
            continue
        if event.type == "step.intended":
            if event.step_id in intended:
                continue
            intended.add(event.step_id)
        payload = {k: v for k, v in (event.payload or {}).items() if k not in ("attempt", "resolved")}
        if "error" in payload:
            payload = {"error": payload["error"]["type"], "again": payload["retry_in"] is not None}
        told.append((event.type, event.step_id, event.actor if event.type.startswith("run.") else None, payload))
    return told


def _is_of_a_cut(event: WorkflowEvent) -> bool:
    payload = event.payload or {}
    return payload.get("retry_in") is not None and payload["error"]["type"] in OF_A_CUT


def _named(value: Any, run_id: str, nonce: str) -> Any:
    text = json.dumps(value, default=str).replace(run_id, "RUN").replace(nonce, "NONCE")
    return json.loads(text)
