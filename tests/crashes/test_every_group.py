"""A crash at every statement of groups: each step of theirs is recorded once, whatever the others have come to meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import override_settings

from django_hookflow import Retry, Workflow, WorkflowContext, workflow
from django_hookflow.models import Lease, OutboxMessage, StepExecution, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.outside import PaymentService
from tests.crashes.stage import SIDES, Stage
from tests.crashes.wire import Cut, Wire
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

retry = Retry(max_attempts=4, first_delay=5, factor=2, jitter=0)


def enter(run_id: str) -> int:
    return int(LedgerEntry.objects.create(account=run_id, amount=1, reference="enter").pk)


@workflow(workflow_id="tests.crashes.mixed_group", retry=retry)
def mixed(ctx: WorkflowContext) -> Any:
    with ctx.step.parallel(max_workers=ctx.data["workers"]) as group:
        asked = [
            group.wait_for_signal("hint"),
            group.sleep("nap", seconds=30),
            group.run("work", lambda: uuid.uuid4().hex),
            group.atomic("enter", enter, ctx.run_id),
            group.options(on_doubt="retry").run("intended", lambda: uuid.uuid4().hex),
            group.call("charge", ctx.data["payments"], "POST", {"run": ctx.run_id, "amount": 1, "nonce": "n"}),
            group.wait_for_signal("never", timeout=60, default=None),
        ]
    after = ctx.step.atomic("after", enter, ctx.run_id)
    return [*(handle.result() for handle in asked), after]


@workflow(workflow_id="tests.crashes.mapped", retry=retry)
def mapped(ctx: WorkflowContext) -> Any:
    """A slice, and then another; each is more than one turn may take on."""
    results: list[Any] = []
    for begin in (0, 5):
        numbers = range(begin, begin + 5)
        results += ctx.step.map(
            "item", lambda n: [n, uuid.uuid4().hex], numbers, key=str, max_workers=ctx.data["workers"]
        )
    return [*results, ctx.step.atomic("after", enter, ctx.run_id)]


def play(stage: Stage, cut: Cut | None, workflow: Workflow, data: dict[str, Any]) -> WorkflowRun:
    """A fresh run, cut at one place, until it announces nothing any more. A hint is sent once it waits for one."""
    stage.begin(cut)
    run_id = f"{workflow.workflow_id}-{data['workers']}-{stage.number}"
    workflow.trigger(data, run_id)

    def send_hint() -> None:
        run = WorkflowRun.objects.get(run_id=run_id)
        if run.waits.filter(key="hint").exists():
            for _ in range(2):  # who gets no answer sends it once more
                stage.attempt(lambda: run.signal("hint", 7, id="hint"))

    stage.deliver_all(WorkflowRun.objects.filter(run_id=run_id), send_hint)
    return WorkflowRun.objects.get(run_id=run_id)


def as_text(result: Any) -> str:
    return json.dumps(result, sort_keys=True)


def problems_of(run: WorkflowRun, steps: list[tuple[str, str]], payments: PaymentService) -> list[str]:
    """In what a run is not what it should be with these ``steps``; empty when all is well."""
    recorded = StepExecution.objects.filter(workflow_run=run)
    found = list(evidence_against(run))
    if run.status != "completed":
        return [*found, f"is {run.status}: {run.error_message}"]
    if sorted(recorded.values_list("step_id", "kind")) != steps:
        found.append(f"has the steps {list(recorded.values_list('step_id', 'kind'))}")
    completed = run.events.filter(type="step.completed").count()
    if completed != len(steps):
        found.append(f"has completed {completed} times")
    results = list(recorded.values_list("result", flat=True))
    if sorted(map(as_text, run.result or ())) != sorted(map(as_text, results)):
        found.append(f"returned {run.result}, its steps {results}")
    effects = LedgerEntry.objects.filter(account=run.run_id).values_list("pk", flat=True)
    if sorted(effects) != sorted(recorded.filter(kind="atomic").values_list("result", flat=True)):
        found.append(f"has the effects {list(effects)}")
    asked = len(payments.requests_of(run.run_id))
    if asked != sum(kind == "call" for _, kind in steps):
        found.append(f"has charged under {asked} keys")
    left = (OutboxMessage.objects.filter(run_uid=run.pk), run.waits.all(), Lease.objects.filter(run_uid=run.pk))
    return found + [f"has left {list(rows)}" for rows in left if rows.exists()]


@pytest.mark.parametrize(
    ("workflow", "steps_per_turn", "workers", "for_good"),
    [
        pytest.param(mixed, None, 1, True, id="parallel-dies"),
        pytest.param(mixed, None, 1, False, id="parallel-reconnects"),
        pytest.param(mixed, None, 3, True, id="parallel-threads-die"),
        pytest.param(mapped, 2, 1, True, id="map-dies"),
        pytest.param(mapped, 2, 3, False, id="map-threads-reconnect"),
    ],
)
def test_a_crash_at_every_statement_of_a_group(
    hookflow: Hookflow,
    wire: Wire,
    payments: PaymentService,
    workflow: Workflow,
    steps_per_turn: int | None,
    workers: int,
    for_good: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """With several threads, which statement comes when is another matter each time: a cut may come to nothing."""
    stage, data = Stage(hookflow, wire), {"workers": workers, "payments": payments.url}
    failed: list[str] = []
    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=steps_per_turn):
        undisturbed = play(stage, None, workflow, data)
        statements = list(wire.statements)
        steps = sorted(StepExecution.objects.filter(workflow_run=undisturbed).values_list("step_id", "kind"))
        assert len(steps) == (8 if workflow is mixed else 11)
        assert problems_of(undisturbed, steps, payments) == []
        cuts = [Cut(at, side, for_good) for at in range(len(statements)) for side in SIDES]
        happened = 0
        for cut in cuts:
            run = play(stage, cut, workflow, data)
            happened += wire.has_cut
            assert wire.has_cut or workers > 1, f"nothing was cut {cut}: {statements[cut.at]}"
            failed += [f"{cut} ({statements[cut.at]:.80}): {each}" for each in problems_of(run, steps, payments)]
    record_property("crash points", f"{len(statements)} statements of a group, {happened} crash points")
    assert failed == []
