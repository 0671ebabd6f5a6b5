"""What a workflow says of its progress: recorded with what is appended next, once however often it is replayed."""

from __future__ import annotations

from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.clock import clock
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


def said(hookflow: Hookflow, run_id: str) -> list[Any]:
    return [event.facts["done"] for event in hookflow.events(run_id) if event.type == "run.progressed"]


@pytest.mark.parametrize("steps_per_turn", [None, 1])
def test_it_rides_with_the_next_step_and_is_recorded_once(
    hookflow: Hookflow, settings: Any, steps_per_turn: int | None
) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = steps_per_turn

    @workflow(workflow_id="tests.progress.steps")
    def steps(ctx: WorkflowContext) -> None:
        for number in range(4):
            ctx.progress(number, 4)
            ctx.progress(number, 4, f"step {number}")
            ctx.step.atomic(f"step-{number}", lambda: None)
        ctx.progress(4, 4, "done")

    run = hookflow.run(steps)
    assert said(hookflow, run.run_id) == [0, 1, 2, 3, 4]
    assert run.progress is not None
    assert run.progress[:3] == (4, 4, "done")
    first = run.events.filter(type="run.progressed").first()
    assert first is not None
    assert first.payload == {"note": "step 0"}
    assert list(diff()) == []


def test_one_that_is_a_second_old_is_recorded_by_itself(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.progress.slow")
    async def slow(ctx: WorkflowContext) -> None:
        for number in range(3):
            clock.offset += 2
            ctx.progress(number)
        step: Any = ctx.step
        await step.sleep("sleep", 1)

    before = clock.offset
    try:
        run_id = slow.trigger()
        hookflow.deliver(run_id)
        assert said(hookflow, run_id) == [0, 1, 2]
        hookflow.drive(run_id)
        assert said(hookflow, run_id) == [0, 1, 2]
    finally:
        clock.offset = before


def test_one_that_was_recorded_before_a_worker_was_lost_is_not_again(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.progress.lost")
    def lost(ctx: WorkflowContext) -> None:
        clock.offset += 2
        ctx.progress(1, 2)
        ctx.step.run("work", lambda: None)
        ctx.progress(2, 2)

    hookflow.crash("work")
    before = clock.offset
    try:
        run = hookflow.run(lost)
    finally:
        clock.offset = before
    assert said(hookflow, run.run_id) == [1, 2]


def test_what_an_atomic_step_takes_back_is_recorded_with_its_failure(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.progress.atomic", retry=Retry(max_attempts=1))
    def atomic(ctx: WorkflowContext) -> None:
        ctx.progress(1)
        ctx.step.atomic("atomic", object)

    run = hookflow.run(atomic)
    assert [e.type for e in hookflow.events(run.run_id)][-3:] == ["run.progressed", "step.failed", "run.failed"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((-1,), "ctx.progress: done must be from 0 to"),
        ((float("nan"),), "ctx.progress: done must be a finite number, not nan"),
        ((True,), "ctx.progress: done must be a finite number, not True"),
        (("1",), "ctx.progress: done must be a finite number, not '1'"),
        ((None,), "ctx.progress: done must be a finite number, not None"),
        ((10**16,), "ctx.progress: done must be from 0 to"),
        ((10**400,), "ctx.progress: done must be from 0 to"),
        ((2, 1), "ctx.progress: done (2) is greater than total (1)"),
        ((1, float("inf")), "ctx.progress: total must be a finite number, not inf"),
        ((1, 2, "x" * 256), "is longer than 255 characters"),
        ((1, 2, None), "note None is NoneType, not text"),
    ],
)
def test_what_is_no_progress_is_refused(hookflow: Hookflow, arguments: Any, problem: str) -> None:
    @workflow(workflow_id="tests.progress.refused", retry=Retry(max_attempts=1))
    def refused(ctx: WorkflowContext) -> None:
        ctx.progress(*arguments)

    run = hookflow.run(refused)
    assert problem in run.error_message
    assert run.progress is None


def test_a_step_says_nothing_of_it(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.progress.inside", retry=Retry(max_attempts=1))
    def inside(ctx: WorkflowContext) -> None:
        ctx.step.run("work", lambda: ctx.progress(1))

    run = hookflow.run(inside)
    assert "ctx.progress was called inside step 'work'" in WorkflowRun.objects.get(pk=run.pk).error_message
