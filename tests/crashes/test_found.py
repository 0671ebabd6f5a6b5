"""What the random schedules have found, as tests that say it in few words; and that their invariants do see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test import override_settings

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.crashes.invariants import installed, violations
from tests.crashes.plans import plan
from tests.crashes.workers import Execute, Worker
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

#: What the operator does while the step runs; set by each test.
operate: Callable[[WorkflowRun], object]
attempts: list[str] = []


def fail_while_an_operator_acts(run_id: str) -> str:
    attempts.append(run_id)
    if attempts.count(run_id) == 1:
        operate(WorkflowRun.objects.get(run_id=run_id))
        raise ConnectionError("no answer")
    return "done"


@workflow(workflow_id="tests.crashes.interrupted", retry=Retry(first_delay=1000, jitter=0))
def interrupted(ctx: WorkflowContext) -> str:
    return ctx.step.run("work", fail_while_an_operator_acts, ctx.run_id)


@pytest.mark.parametrize(
    ("operation", "status"),
    [(WorkflowRun.cancel, "cancelled"), (WorkflowRun.pause, "paused")],
)
def test_a_run_that_was_stopped_in_mid_step_does_not_claim_to_wake(
    hookflow: Hookflow, operation: Callable[[WorkflowRun], object], status: str
) -> None:
    global operate
    operate = operation
    run_id = interrupted.trigger()
    hookflow.deliver(run_id)
    run = WorkflowRun.objects.get(run_id=run_id)
    assert [e.type for e in hookflow.events(run_id)][2:] == [f"run.{status}", "step.failed", "step.suspended"]
    assert (run.status, run.wake_at) == (status, None)


@workflow(workflow_id="tests.crashes.failing")
def failing(ctx: WorkflowContext) -> None:
    ctx.step.run("first", str)
    ctx.step.run("second", int, "not a number")


def test_a_run_that_fails_while_it_is_being_rewound_leaves_no_open_dead_letter(hookflow: Hookflow) -> None:
    """Between the operator's look at the run and the rewind itself, a worker comes to the run's end."""
    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=1):
        run_id = failing.trigger()
        hookflow.deliver(run_id)
    worker = Worker()

    def fail_first(execute: Execute, sql: str, params: object, many: bool, context: dict[str, Any]) -> Any:
        if "hookflow_operate" in sql:
            assert worker.begin(partial(hookflow.deliver, run_id)).result().answer == "failed"
        return execute(sql, params, many, context)

    try:
        with connection.execute_wrapper(fail_first):
            assert WorkflowRun.objects.get(run_id=run_id).rewind(to_step="first")
    finally:
        worker.close()
    assert [(entry.is_replayed, entry.run_id) for entry in DeadLetterEntry.objects.all()] == [(True, run_id)]
    assert hookflow.drive(run_id).status == "failed"
    assert DeadLetterEntry.objects.get(is_replayed=False).replay() == run_id


@pytest.fixture
def finished(hookflow: Hookflow) -> Iterator[WorkflowRun]:
    steps = [{"kind": kind, "fails": 0, "fatal": False, "caught": False} for kind in ("run", "atomic", "sleep")]
    with installed():
        yield hookflow.run(plan, {"steps": steps})


def test_the_invariants_hold_for_an_undisturbed_run(finished: WorkflowRun) -> None:
    assert finished.status == "completed"
    assert violations(UUID(int=0), 0) == []


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        ("UPDATE django_hookflow_head SET last_seq = last_seq + 1", "the head says"),
        ("UPDATE django_hookflow_head SET head_hash = sha256('')", "head's hash"),
        ("UPDATE django_hookflow_workflowrun SET status = 'running'", "is running and has announced nothing"),
        ("UPDATE django_hookflow_workflowrun SET result = '1'", "folded"),
        (
            "INSERT INTO django_hookflow_wait SELECT 1, id, '0-run', 'sleep', NULL, NULL, NULL, 1 FROM django_hookflow_workflowrun",
            "folded",
        ),
        ("DELETE FROM testapp_ledgerentry", "a record without effect"),
        (
            "SELECT hookflow_append(run_uid, NULL, '{step.completed}', '{0-run}', ARRAY['{\"kind\":\"run\",\"attempt\":1}'::json], '{NULL}', NULL)"
            " FROM django_hookflow_head",
            "completed again",
        ),
        (
            "SELECT hookflow_append(run_uid, NULL, '{turn.started}', '{NULL}', ARRAY['{}'::json], '{NULL}', NULL) FROM django_hookflow_head",
            "after run.completed",
        ),
    ],
)
def test_the_invariants_see_damage(finished: WorkflowRun, damage: str, seen: str) -> None:
    with connection.cursor() as c:
        c.execute(damage)
    assert any(seen in violation for violation in violations(UUID(int=0), 0))


def test_the_invariants_see_an_effect_that_happened_twice_and_a_turn_left_over(finished: WorkflowRun) -> None:
    LedgerEntry.objects.create(account=finished.run_id, reference="1-atomic", amount=1)
    now = finished.created_at
    left = OutboxMessage(run_uid=finished.run_uid, seq=1, due_at=now, announced_at=now, send_at=now)
    QuerySet[OutboxMessage](OutboxMessage).bulk_create([left])
    found = "\n".join(violations(UUID(int=0), 0))
    assert "an effect without record" in found
    assert "its turn is announced" in found
