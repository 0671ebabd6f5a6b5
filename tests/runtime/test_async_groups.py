"""Groups of an async workflow: the checks, handles and errors of a plain one's."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import DuplicateStep, GroupNotEnded, MisplacedStep, WorkflowError
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)
at_work: list[int] = []
most: list[int] = []


@pytest.fixture(autouse=True)
def _consistent() -> Any:
    at_work.clear()
    most.clear()
    yield
    assert list(diff()) == []


async def double(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(f"no {number}")
    return 2 * number


def double_plainly(number: int) -> int:
    return 2 * number


class TestMap:
    @pytest.mark.parametrize("work", [double, double_plainly])
    @pytest.mark.parametrize("steps_per_turn", [None, 1, 3])
    def test_the_results_come_in_order(
        self, hookflow: Hookflow, settings: Any, work: Any, steps_per_turn: int | None
    ) -> None:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = steps_per_turn

        @workflow(workflow_id="tests.async_groups.map")
        async def doubled(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.map("double", work, range(7), key=lambda number: f"n{number}", max_workers=2)

        run = hookflow.run(doubled)
        assert (run.status, run.result) == ("completed", [0, 2, 4, 6, 8, 10, 12])
        assert {step.step_id for step in run.step_executions.all()} == {f"double[n{number}]" for number in range(7)}

    def test_no_more_work_at_once_than_max_workers(self, hookflow: Hookflow) -> None:
        full: asyncio.Event = asyncio.Event()

        async def beside_others(number: int) -> None:
            at_work.append(number)
            most.append(len(at_work))
            if len(at_work) == 3:
                full.set()
            await full.wait()
            await asyncio.sleep(0.02)  # in which a fourth would begin
            at_work.remove(number)

        @workflow(workflow_id="tests.async_groups.limit")
        async def limited(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.map("work", beside_others, range(9), max_workers=3)

        assert hookflow.run(limited).status == "completed"
        assert max(most) == 3

    def test_children_one_after_another(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async_groups.child")
        def child(ctx: WorkflowContext) -> Any:
            return 2 * ctx.data["number"]

        @workflow(workflow_id="tests.async_groups.parent")
        async def parent(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.map("child", child, [{"number": number} for number in range(4)], max_workers=1)

        run = hookflow.run(parent)
        assert (run.status, run.result) == ("completed", [0, 2, 4, 6])
        order = list(run.events.filter(step_id__startswith="child[").order_by("seq").values_list("type", "step_id"))
        assert order == [
            (type_, f"child[{number}]") for number in range(4) for type_ in ("step.suspended", "step.completed")
        ]

    def test_the_first_failure_in_the_order_asked_when_all_have_ended(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async_groups.fails")
        async def fails(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            try:
                await step.options(retry=ONCE).map("double", double, [1, -2, 3, -4, 5])
            except WorkflowError as error:
                return error.step_id
            return None

        run = hookflow.run(fails)
        assert run.result == "double[1]"
        assert run.step_executions.count() == 3

    def test_a_retry_leaves_its_place_to_others(self, hookflow: Hookflow) -> None:
        tries: list[int] = []

        async def second_time(number: int) -> int:
            tries.append(number)
            if number == 0 and tries.count(0) == 1:
                raise ConnectionError
            return number

        @workflow(workflow_id="tests.async_groups.retry")
        async def retried(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.map("item", second_time, range(3), max_workers=1)

        assert hookflow.run(retried).result == [0, 1, 2]
        assert tries == [0, 1, 2, 0]

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            ({"max_workers": 0}, "max_workers must be a whole number .*, not 0"),
            ({"key": lambda _: "same"}, "two items have the key 'same'"),
        ],
    )
    def test_is_checked_as_a_plain_one(self, hookflow: Hookflow, arguments: Any, problem: str) -> None:
        @workflow(workflow_id="tests.async_groups.checked")
        async def checked(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            with pytest.raises(ValueError, match=problem):
                await step.map("double", double, range(2), **arguments)
            return await step.map("double", double, [])

        assert hookflow.run(checked).result == []


class TestParallel:
    def test_all_verbs_at_once(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async_groups.verbs")
        async def verbs(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            async with step.parallel(max_workers=1) as group:
                signal = group.wait_for_signal("signal", timeout=60, default="none")
                one, two = group.run("run", double, 1), group.atomic("atomic", double_plainly, 2)
                slept = group.sleep("sleep", 60)
                with pytest.raises(GroupNotEnded):
                    one.result()
            with pytest.raises(MisplacedStep):
                group.run("late", double, 1)
            return [signal.result(), one.result(), two.result(), slept.result()]

        run = hookflow.run(verbs)
        assert (run.status, run.result) == ("completed", ["none", 2, 4, None])

    @pytest.mark.parametrize("on_error", ["raise", "collect"])
    def test_failures(self, hookflow: Hookflow, on_error: str) -> None:
        @workflow(workflow_id="tests.async_groups.failures")
        async def failures(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            try:
                async with step.parallel(on_error=on_error) as group:
                    group.options(retry=ONCE).run("bad", double, -1)
                    good = group.run("good", double, 1)
            except WorkflowError as error:
                return ["raised", error.step_id, good.result()]
            return ["collected", good.result()]

        expected = {"raise": ["raised", "bad", 2], "collect": ["collected", 2]}
        assert hookflow.run(failures).result == expected[on_error]

    def test_an_id_twice(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async_groups.twice")
        async def twice(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            try:
                async with step.parallel(on_error="collect") as group:
                    group.run("same", double, 1)
                    group.run("same", double, 2)
            except DuplicateStep as error:
                refusal = str(error)
            with pytest.raises(ValueError, match="on_error must be .*, not 'none'"):
                step.parallel(on_error="none")
            return refusal

        assert "'same'" in str(hookflow.run(twice).result)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup came with Python 3.11")
def test_groups_in_a_task_group(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.async_groups.task_group")
    async def grouped(ctx: WorkflowContext) -> Any:
        step: Any = ctx.step
        async with asyncio.TaskGroup() as tasks:
            doubled = tasks.create_task(step.map("double", double, range(5), max_workers=2))
            single = tasks.create_task(step.run("single", double, 21))
            await step.sleep("sleep", 60)
        return [doubled.result(), single.result()]

    run = hookflow.run(grouped)
    assert (run.status, run.result) == ("completed", [[0, 2, 4, 6, 8], 42])
