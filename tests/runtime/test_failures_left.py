"""A step that failed for good is recorded with what comes of it: in one commit with the run's failure, before anything else."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from django.db import connection

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)


def fail(number: int = 0) -> None:
    raise ValueError(f"no {number}")


def fail_for_now() -> None:
    raise ConnectionError("gone")


async def fail_async() -> None:
    raise ValueError("no")


def in_one_step(ctx: WorkflowContext) -> None:
    ctx.step.run("charge", fail)


def in_the_last_attempt(ctx: WorkflowContext) -> None:
    ctx.step.options(retry=ONCE).run("charge", fail_for_now)


def in_an_atomic_step(ctx: WorkflowContext) -> None:
    ctx.step.atomic("charge", fail)


def in_a_group(ctx: WorkflowContext) -> None:
    with ctx.step.parallel(max_workers=1) as group:
        group.run("charge", fail)


def in_a_map(ctx: WorkflowContext) -> None:
    ctx.step.map("charge", fail, [1], max_workers=1)


async def in_async_code(ctx: Any) -> None:
    await ctx.step.run("charge", fail_async)


async def in_an_async_group(ctx: Any) -> None:
    async with ctx.step.parallel() as group:
        group.run("charge", fail_async)


def commits_of(run_id: str) -> list[list[str]]:
    """The types of the run's events, those of one transaction together."""
    rows = ask(
        "SELECT event.xid::text AS xid, event.type FROM django_hookflow_event AS event "
        "JOIN django_hookflow_head AS head USING (run_uid) WHERE head.run_id = %s ORDER BY event.seq",
        run_id,
    )
    return [[row["type"] for row in rows] for _, rows in groupby(rows, lambda row: row["xid"])]


@pytest.mark.parametrize(
    "code",
    [
        in_one_step,
        in_the_last_attempt,
        in_an_atomic_step,
        in_a_group,
        in_a_map,
        in_async_code,
        in_an_async_group,
    ],
)
def test_the_last_attempt_and_the_runs_failure_are_one_commit(hookflow: Hookflow, code: Callable[..., Any]) -> None:
    run_id = workflow(workflow_id=f"tests.left.{code.__name__}")(code).trigger()
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if "hookflow_" in sql:
            statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        assert hookflow.drive(run_id).status == "failed"
    assert commits_of(run_id) == [["run.triggered"], ["turn.started"], ["step.failed", "run.failed"]]
    assert sum("hookflow_append" in sql for sql in statements) == 1
    assert list(diff()) == []


def test_it_is_recorded_before_other_work_begins(hookflow: Hookflow) -> None:
    seen: list[list[str]] = []

    @workflow(workflow_id="tests.left.compensated")
    def compensated(ctx: WorkflowContext) -> None:
        try:
            ctx.step.run("charge", fail)
        except WorkflowError:
            ctx.step.run("refund", lambda: seen.append([event.type for event in hookflow.events(ctx.run_id)]))

    run_id = compensated.trigger()
    assert hookflow.drive(run_id).status == "completed"
    assert seen == [["run.triggered", "turn.started", "step.failed"]]


def test_it_is_recorded_with_what_the_workflow_ends_with(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.left.caught")
    def caught(ctx: WorkflowContext) -> str:
        ctx.progress(1, 2, "before")
        try:
            ctx.step.run("charge", fail)
        except WorkflowError:
            ctx.progress(2, 2, "after")
        return "done"

    run_id = caught.trigger()
    assert hookflow.drive(run_id).result == "done"
    assert commits_of(run_id)[2:] == [["run.progressed", "step.failed", "run.progressed", "run.completed"]]


def test_it_is_recorded_when_the_time_of_it_is_asked_for(hookflow: Hookflow) -> None:
    times: list[datetime.datetime] = []

    @workflow(workflow_id="tests.left.now")
    def timed(ctx: WorkflowContext) -> None:
        try:
            ctx.step.run("charge", fail)
        except WorkflowError:
            times.append(ctx.now())
        ctx.step.sleep("a while", 1)

    run_id = timed.trigger()
    assert hookflow.drive(run_id).status == "completed"
    failed = WorkflowEvent.objects.get(workflow_run__run_id=run_id, type="step.failed")
    assert times == [failed.recorded_at] * 2


def test_it_is_recorded_when_the_turn_is_handed_back(hookflow: Hookflow) -> None:
    """Whoever ends the process between the step and the end of its workflow."""

    @workflow(workflow_id="tests.left.stopped")
    def stopped(ctx: WorkflowContext) -> None:
        try:
            ctx.step.run("charge", fail)
        except WorkflowError:
            raise KeyboardInterrupt from None

    run_id = stopped.trigger()
    with pytest.raises(KeyboardInterrupt):
        hookflow.drive(run_id)
    assert commits_of(run_id) == [["run.triggered"], ["turn.started"], ["step.failed"]]


def test_what_was_done_to_the_run_meanwhile_does_not_take_it_back(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.left.paused")
    def paused(ctx: WorkflowContext) -> None:
        def fail_paused() -> None:
            WorkflowRun.objects.get(run_id=ctx.run_id).pause(reason="to look at it")
            raise ValueError("no")

        ctx.step.run("charge", fail_paused)

    run_id = paused.trigger()
    assert hookflow.drive(run_id).status == "paused"
    assert commits_of(run_id)[2:] == [["run.paused"], ["step.failed"]]
    WorkflowRun.objects.get(run_id=run_id).resume(reason="seen")
    assert hookflow.drive(run_id).status == "failed"
    assert commits_of(run_id)[4:] == [["run.resumed"], ["turn.started"], ["run.failed"]]


def test_a_doubt_that_is_settled_does_not_come_back(hookflow: Hookflow) -> None:
    """Of what is not to be repeated blindly the failure is recorded before the workflow knows it."""
    seen: list[str] = []

    @workflow(workflow_id="tests.left.doubt")
    def doubtful(ctx: WorkflowContext) -> None:
        try:
            ctx.step.options(on_doubt="ask").run("charge", fail)
        except WorkflowError:
            seen.append(hookflow.events(ctx.run_id)[-1].type)
            raise

    run_id = doubtful.trigger()
    assert hookflow.drive(run_id).status == "failed"
    assert seen == ["step.failed"]


def test_outcomes_are_recorded_in_the_order_in_which_async_code_learns_of_them(hookflow: Hookflow) -> None:
    order: list[str] = []

    async def succeed() -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return 1

    @workflow(workflow_id="tests.left.gathered")
    async def gathered(ctx: Any) -> None:
        async def follow(step_id: str, work: Callable[[], Any]) -> None:
            try:
                await ctx.step.run(step_id, work)
            except WorkflowError:
                pass
            order.append(step_id)

        await asyncio.gather(follow("bad", fail_async), follow("good", succeed))
        await ctx.step.sleep("a while", 1)

    run_id = gathered.trigger()
    assert hookflow.drive(run_id).status == "completed"
    ended = [event.step_id for event in hookflow.events(run_id) if event.type in ("step.failed", "step.completed")]
    assert order == ended[:2] * 2
