"""What a run came to, in a form in which a crashed run and an undisturbed one must be equal.

Left out is only what says how often somebody tried, since that is what a crash changes:

* ``turn.started`` and ``turn.abandoned``: how many deliveries it took;
* ``step.failed`` with a next attempt, when the error is the cut itself (the step was in the middle of its own ORM work):
  the tests allow one, and none of another cause beyond those of the undisturbed run;
* a repeated ``step.intended``; the suspension in doubt and ``step.resolved``, for the one step that asks;
* the number of the attempt in what remains, ``resolved`` in the record of a step that an operator settled;
* how long attempts took, the moments until which steps waited, and the numbers of the signals they took.

Times and positions are not compared; run ids and the random value of the plain step are replaced by their names, so a
result that mixes two executions shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django_hookflow.models import DeadLetterEntry, Lease, OutboxMessage, StepExecution, WorkflowEvent, WorkflowRun
from tests.testapp.models import LedgerEntry

BOOKKEEPING = frozenset({"turn.started", "turn.abandoned", "step.resolved"})
#: Facts that say when and how often.
PASSING = frozenset({"attempt", "resolved", "took", "until", "seconds", "retry_in", "by"})
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
    outcome = Outcome(
        log=_comparable(events),
        run={
            name: getattr(run, name)
            for name in ("workflow_id", "status", "data", "result", "error_type", "error_message")
        },
        steps=[(step.step_id, step.kind, step.result) for step in steps],
        dead_letters=DeadLetterEntry.objects.filter(run_uid=run.run_uid).count(),
        ledger=[(entry.account, entry.amount, entry.reference) for entry in ledger],
        left_over=OutboxMessage.objects.filter(run_uid=run.run_uid).count()
        + run.waits.count()
        + Lease.objects.filter(run_uid=run.run_uid).count(),
    )
    return Outcome(**{name: _named(value, run_id, nonce) for name, value in vars(outcome).items()})


def failures_by_cut(run_id: str) -> int:
    """How many attempts failed because the connection was cut under them."""
    events = WorkflowEvent.objects.filter(workflow_run__run_id=run_id, type="step.failed")
    return sum(_is_of_a_cut(event) for event in events)


def _comparable(events: list[WorkflowEvent]) -> list[Any]:
    comparable: list[Any] = []
    intended: set[str | None] = set()
    cut: set[str | None] = set()
    for event in events:
        if event.type in BOOKKEEPING or event.facts.get("kind") == "doubt":
            continue
        if event.type == "step.failed" and _is_of_a_cut(event):
            cut.add(event.step_id)
            continue
        if event.step_id in cut and event.type in ("step.suspended", "step.retried"):  # until the attempt after the cut
            cut -= {event.step_id} if event.type == "step.retried" else set()
            continue
        if event.type == "step.intended":
            if event.step_id in intended:
                continue
            intended.add(event.step_id)
        facts = {key: value for key, value in event.facts.items() if key not in PASSING}
        payload = event.payload if event.type != "step.failed" else None
        actor = event.actor if event.type.startswith("run.") else None
        comparable.append((event.type, event.step_id, actor, facts, payload))
    return comparable


def _is_of_a_cut(event: WorkflowEvent) -> bool:
    return "retry_in" in event.facts and event.facts["error"] in OF_A_CUT


def _named(value: Any, run_id: str, nonce: str) -> Any:
    text = json.dumps(value, default=str).replace(run_id, "RUN").replace(nonce, "NONCE")
    return json.loads(text)
