"""Async workflows that wait for many at once, and branches that fail or are cancelled."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from django_hookflow import Retry, Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import StepTimedOut
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)
CHILDREN = 30


@pytest.fixture
def part() -> Workflow:
    @workflow(workflow_id="tests.async_joins.part")
    def part(ctx: WorkflowContext) -> Any:
        return ctx.data["number"]

    return part


def whole_of(part: Workflow, how: str) -> Workflow:
    @workflow(workflow_id=f"tests.async_joins.{how}")
    async def whole(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        items = [{"number": number} for number in range(CHILDREN)]
        if how == "map":
            return sum(await step.map("part", part, items))
        return sum(await asyncio.gather(*(step.child(f"part[{n}]", part, item) for n, item in enumerate(items))))

    return whole


def turns_of(run_id: str) -> int:
    return WorkflowRun.objects.get(run_id=run_id).events.filter(type="turn.started").count()


@pytest.mark.parametrize("how", ["gather", "map"])
def test_children_that_have_ended_are_joined_in_one_turn(hookflow: Hookflow, part: Workflow, how: str) -> None:
    run_id = whole_of(part, how).trigger()
    hookflow.deliver(run_id)
    for child in WorkflowRun.objects.get(run_id=run_id).children.all():
        hookflow.deliver(child.run_id)
    assert hookflow.deliver(run_id).answer == "completed"
    run = WorkflowRun.objects.get(run_id=run_id)
    assert run.result == sum(range(CHILDREN))
    assert turns_of(run_id) == 2
    assert list(diff()) == []


@pytest.mark.parametrize(("how", "turns"), [("map", 2), ("gather", CHILDREN + 1)])
def test_turns_where_each_child_ends_alone(hookflow: Hookflow, part: Workflow, how: str, turns: int) -> None:
    """All of a group are waited for together; whether a branch goes on with one child only the workflow knows."""
    run_id = whole_of(part, how).trigger()
    hookflow.deliver(run_id)
    for child in WorkflowRun.objects.get(run_id=run_id).children.all():
        hookflow.deliver(child.run_id)
        if hookflow.announced(run_id) is not None:
            hookflow.deliver(run_id)
    assert WorkflowRun.objects.get(run_id=run_id).result == sum(range(CHILDREN))
    assert turns_of(run_id) == turns
    assert list(diff()) == []


def test_a_branch_goes_on_beside_a_map_that_waits(hookflow: Hookflow, part: Workflow) -> None:
    @workflow(workflow_id="tests.async_joins.beside")
    async def beside(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step

        async def branch() -> Any:
            value = await step.wait_for_signal("go")
            return await step.run("went", str, value)

        return list(await asyncio.gather(branch(), step.map("part", part, [{"number": 1}, {"number": 2}])))

    run_id = beside.trigger()
    hookflow.deliver(run_id)
    run = WorkflowRun.objects.get(run_id=run_id)
    run.signal("go", 7)
    hookflow.deliver(run_id)
    assert run.events.filter(type="step.completed", step_id="went").exists()
    assert hookflow.drive(run_id).result == ["7", [1, 2]]
    assert list(diff()) == []


def test_a_step_of_a_group_is_tried_again_while_its_child_runs(hookflow: Hookflow, part: Workflow) -> None:
    failures = iter([OSError("no")])

    def flaky() -> str:
        for failure in failures:
            raise failure
        return "done"

    @workflow(workflow_id="tests.async_joins.flaky", retry=Retry(first_delay=5, jitter=0))
    async def mixed(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        async with step.parallel() as group:
            handles = [group.child("child", part, {"number": 1}), group.run("flaky", flaky)]
        return [handle.result() for handle in handles]

    run_id = mixed.trigger()
    hookflow.deliver(run_id)
    hookflow.advance(10)
    hookflow.deliver(run_id)
    run = WorkflowRun.objects.get(run_id=run_id)
    assert run.events.filter(type="step.completed", step_id="flaky").exists()
    assert hookflow.announced(run_id) is None, "there is nothing to do until the child has ended"
    assert hookflow.drive(run_id).result == [1, "done"]
    assert list(diff()) == []


def test_plain_functions_work_one_after_another_in_the_turn_s_thread(hookflow: Hookflow) -> None:
    """In a thread they would be beside others, and have another connection: of an async function that may be asked."""
    met = threading.Barrier(2, timeout=30)
    at_work: list[int] = []

    def work(number: int) -> int:
        at_work.append(number)
        assert at_work == [number]
        at_work.remove(number)
        return threading.get_ident()

    async def meet() -> bool:
        return await asyncio.to_thread(met.wait) >= 0

    @workflow(workflow_id="tests.async_joins.plain", retry=ONCE)
    async def plain(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        threads = await asyncio.gather(*(step.run(f"plain-{n}", work, n) for n in range(3)))
        return [
            set(threads) == {threading.get_ident()},
            *await asyncio.gather(step.run("a", meet), step.run("b", meet)),
        ]

    assert hookflow.run(plain).result == [True, True, True]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is of Python 3.11")
@pytest.mark.parametrize("timeout", [None, 0.05])
def test_a_task_group_cancels_the_other_branches(hookflow: Hookflow, timeout: float | None) -> None:
    ended: list[str] = []

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stay")

    async def fail() -> None:
        if timeout is not None:
            await asyncio.Event().wait()
        raise OSError("no")

    @workflow(workflow_id="tests.async_joins.task_group", retry=ONCE)
    async def task_group(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step

        async def branch() -> None:
            try:
                await step.run("stays", stay)
            except asyncio.CancelledError:
                ended.append("branch")
                raise

        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
            group.create_task(step.options(timeout=timeout).run("fails", fail))

    run = hookflow.run(task_group)
    assert run.status == "failed"
    assert (StepTimedOut.__name__ if timeout else "OSError") in run.error_message + run.events.get(
        type="step.failed", step_id="fails"
    ).facts["error"]
    assert sorted(ended) == ["branch", "stay"]
    assert not run.events.filter(step_id="stays").exists()
    assert list(diff()) == []
