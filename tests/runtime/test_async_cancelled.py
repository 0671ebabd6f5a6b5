"""What becomes of a step whose coroutine is cancelled while it awaits it: another branch was faster, say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)


@pytest.fixture(autouse=True)
def _consistent() -> Iterator[None]:
    yield
    assert list(diff()) == []


async def faster(*branches: Awaitable[Any]) -> Any:
    """The result of the branch that ends first; the others are cancelled."""
    tasks = [asyncio.ensure_future(branch) for branch in branches]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    return next(iter(done)).result()


def test_one_that_has_not_begun_is_not_done(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.not_begun")
    async def not_begun(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        task = asyncio.ensure_future(step.run("never", str, 1))
        await asyncio.sleep(0)
        task.cancel()
        await step.run("first", str, 1)
        await step.sleep("pause", 10)
        return await step.run("last", str, 2)

    run = hookflow.run(not_begun)
    assert (run.status, run.result) == ("completed", "2")
    assert not run.events.filter(step_id="never").exists()


def test_work_that_is_cancelled_is_not_recorded(hookflow: Hookflow) -> None:
    ended: list[str] = []

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stay")

    @workflow(workflow_id="tests.cancelled.at_work")
    async def at_work(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        found = await faster(step.run("stays", stay), step.run("fast", str, 1))
        await step.sleep("pause", 10)
        return [found, await step.run("last", str, 2)]

    run = hookflow.run(at_work)
    assert (run.status, run.result) == ("completed", ["1", "2"])
    assert (ended, run.events.filter(step_id="stays").count()) == (["stay"], 0)


def test_a_wait_that_had_not_been_recorded_is_none(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.held")
    async def held(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        found = await faster(step.sleep("long", 1_000), step.run("fast", str, 1))
        await step.sleep("pause", 10)
        return found

    run = hookflow.run(held)
    assert (run.status, run.result) == ("completed", "1")
    assert not run.events.filter(step_id="long").exists()


def test_a_wait_that_is_cancelled_is_over_and_takes_no_signal(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.signal")
    async def asking(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        first = await faster(step.wait_for_signal("asked", "answer"), step.sleep("pause", 10))
        began = ctx.now()
        second = await step.wait_for_signal("again", "answer")
        return [first, second, began == ctx.now()]

    run = hookflow.run(asking)
    assert list(run.waits.values_list("step_id", flat=True)) == ["again"]
    assert hookflow.signal(run.run_id, "answer", "late").result == [None, "late", False]


@pytest.mark.parametrize("is_cancelled_before", [True, False])
def test_a_signal_that_came_for_a_wait_that_is_cancelled_is_the_next_one_s(
    hookflow: Hookflow, is_cancelled_before: bool
) -> None:
    def send(run_id: str) -> bool:
        return WorkflowRun.objects.get(run_id=run_id).signal("answer", "in time")

    @workflow(workflow_id="tests.cancelled.next_one")
    async def asking(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        task = asyncio.ensure_future(step.wait_for_signal("asked", "answer"))
        await step.sleep("pause", 10)
        if is_cancelled_before:
            task.cancel()
        await step.run("send", send, ctx.run_id)
        task.cancel()
        return await step.wait_for_signal("again", "answer")

    run = hookflow.run(asking)
    assert (run.status, run.result) == ("completed", "in time")


def test_a_signal_that_comes_as_its_wait_is_cancelled_is_the_next_one_s(hookflow: Hookflow) -> None:
    sent: list[bool] = []

    @workflow(workflow_id="tests.cancelled.same_moment")
    async def asking(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        await faster(step.wait_for_signal("asked", "answer"), step.sleep("pause", 10))
        if not sent:
            with ctx._execution.aside():
                sent.append(WorkflowRun.objects.get(run_id=ctx.run_id).signal("answer", "just now"))
        return await step.wait_for_signal("again", "answer")

    run = WorkflowRun.objects.get(run_id=asking.trigger())
    hookflow.deliver(run.run_id)
    assert len(sent) == 0
    run = hookflow.drive(run.run_id)
    assert (sent, run.status, run.result) == ([True], "completed", "just now")


def test_a_child_that_is_cancelled_with_its_step(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.child")
    async def child(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        await step.wait_for_signal("never")

    @workflow(workflow_id="tests.cancelled.parent")
    async def parent(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        found = await faster(step.child("child", child), step.sleep("pause", 10))
        await step.wait_for_signal("go on")
        return found

    run = hookflow.run(parent)
    assert run.status == "running"
    assert [each.status for each in run.children.all()] == ["cancelled"]
    assert hookflow.signal(run.run_id, "go on").status == "completed"


def test_a_map_that_is_cancelled(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.map")
    async def mapping(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        found = await faster(step.map("part", str, range(20), max_workers=2), step.run("fast", str, "x"))
        await step.sleep("pause", 10)
        return found

    run = hookflow.run(mapping)
    assert (run.status, run.result) == ("completed", "x")


def test_a_branch_cleans_up_with_a_step(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.cleaning")
    async def cleaning(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step

        async def branch() -> None:
            try:
                await step.sleep("long", 1_000)
            finally:
                await step.run("clean", str, 1)

        task = asyncio.ensure_future(branch())
        await step.sleep("pause", 10)
        task.cancel()
        await asyncio.wait([task])
        return "done"

    run = hookflow.run(cleaning)
    assert (run.status, run.result) == ("completed", "done")
    assert "step.completed clean" in hookflow.history(run.run_id)


def test_a_workflow_that_ends_as_cancelled_has_failed(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.cancelled.itself", retry=ONCE)
    async def itself(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        task = asyncio.ensure_future(step.sleep("long", 1_000))
        await step.run("fast", str, 1)
        task.cancel()
        await task

    run = hookflow.run(itself)
    assert run.status == "failed"
    assert "the workflow's coroutine was cancelled" in run.error_message
