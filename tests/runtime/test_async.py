"""Async workflows and steps: the same log, and several steps at once."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import TestCase

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import StepTimedOut, WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)
did: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    did.clear()


async def note(what: Any) -> Any:
    await asyncio.sleep(0)
    did.append(what)
    return what


def note_plainly(what: Any) -> Any:
    did.append(what)
    return what


def steps_of(run: WorkflowRun) -> list[str]:
    return list(run.step_executions.order_by("seq").values_list("step_id", flat=True))


class TestOneAfterAnother:
    def test_the_verbs_are_awaited(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.verbs")
        async def verbs(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            a = await step.run("async", note, "a")
            b = await step.run("plain", note_plainly, "b")
            c = await step.atomic("atomic", note_plainly, "c")
            await step.sleep("sleep", 60)
            d = await step.wait_for_signal("signal", timeout=60, default="d")
            return [a, b, c, d, ctx.now().isoformat(), str(ctx.uuid4())]

        run = hookflow.run(verbs)
        assert run.status == "completed"
        assert (run.result or [])[:4] == ["a", "b", "c", "d"]
        assert did == ["a", "b", "c"]
        assert steps_of(run) == ["async", "plain", "atomic", "sleep", "signal"]
        assert list(diff()) == []

    @pytest.mark.parametrize("steps_per_turn", [1, 2])
    def test_a_share_at_a_time(self, hookflow: Hookflow, settings: Any, steps_per_turn: int) -> None:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = steps_per_turn

        @workflow(workflow_id="tests.async.share")
        async def share(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await asyncio.gather(*(step.run(f"step-{i}", note, i) for i in range(5)))

        run = hookflow.run(share)
        assert (run.status, run.result) == ("completed", [0, 1, 2, 3, 4])
        assert sorted(did) == [0, 1, 2, 3, 4]

    def test_a_failure_is_caught_as_ever(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.failure", retry=Retry(max_attempts=2, jitter=0))
        async def failing(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            try:
                await step.run("fails", fail)
            except WorkflowError as error:
                return str(error)

        assert hookflow.run(failing).result == "step 'fails' failed after 2 attempts: OSError: no"
        assert did == ["fail", "fail"]


async def fail() -> None:
    did.append("fail")
    raise OSError("no")


class TestAtOnce:
    def test_async_steps_are_at_work_together(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.together")
        async def together(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            met = asyncio.Barrier(3) if hasattr(asyncio, "Barrier") else Meeting(3)

            async def meet(number: int) -> int:
                await met.wait()
                return number

            return await asyncio.gather(*(step.run(f"meet-{i}", meet, i) for i in range(3)))

        run = hookflow.run(together)
        assert (run.status, run.result) == ("completed", [0, 1, 2])

    def test_branches_go_on_by_themselves(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.branches")
        async def branches(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step

            async def branch(name: str, seconds: int) -> str:
                await step.run(f"{name}-before", note, f"{name}-before")
                await step.sleep(f"{name}-sleep", seconds)
                await step.run(f"{name}-after", note, f"{name}-after")
                return name

            return await asyncio.gather(branch("a", 60), branch("b", 30), branch("c", 0))

        run = hookflow.run(branches)
        assert (run.status, run.result) == ("completed", ["a", "b", "c"])
        assert did == ["a-before", "b-before", "c-before", "c-after", "b-after", "a-after"]
        waits = [event.step_id for event in hookflow.events(run.run_id) if event.type == "step.suspended"]
        assert waits == ["a-sleep", "b-sleep", "c-sleep"]
        assert list(diff()) == []

    def test_a_signal_is_taken_up_while_another_branch_waits(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.signals")
        async def signals(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step

            async def branch(name: str) -> Any:
                value = await step.wait_for_signal(name)
                return await step.run(f"{name}-done", note, value)

            return await asyncio.gather(branch("a"), branch("b"))

        run_id = signals.trigger()
        hookflow.deliver(run_id)
        run = WorkflowRun.objects.get(run_id=run_id)
        run.signal("b", 2)
        hookflow.deliver(run_id)
        assert did == [2]
        run.signal("a", 1)
        assert hookflow.drive(run_id).result == [1, 2]
        assert did == [2, 1]

    def test_one_fails_and_is_tried_again_while_the_others_go_on(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.retried", retry=Retry(max_attempts=2, jitter=0))
        async def retried(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step

            async def flaky() -> str:
                did.append("flaky")
                if did.count("flaky") == 1:
                    raise OSError("no")
                return "flaky"

            async def chain() -> str:
                return str(await step.run("one", note, "one")) + str(await step.run("two", note, "two"))

            return await asyncio.gather(step.run("flaky", flaky), chain())

        run = hookflow.run(retried)
        assert run.result == ["flaky", "onetwo"]
        assert did == ["flaky", "one", "two", "flaky"]

    def test_a_replay_learns_in_the_order_of_the_first_time(self, hookflow: Hookflow, settings: Any) -> None:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 2
        passes: list[list[Any]] = []

        @workflow(workflow_id="tests.async.order")
        async def order(ctx: WorkflowContext) -> None:
            step: Any = ctx.step
            drawn: list[Any] = []
            passes.append(drawn)

            async def branch(name: str) -> None:
                for number in range(3):
                    await step.run(f"{name}-{number}", note, number)
                    drawn.append((name, number, ctx.random.random(), ctx.now()))

            await asyncio.gather(branch("a"), branch("b"), branch("c"))

        assert hookflow.run(order).status == "completed"
        assert len(passes) > 3
        assert all(passes[-1][: len(drawn)] == drawn for drawn in passes)

    def test_code_that_does_not_fit_diverges(self, hookflow: Hookflow) -> None:
        names = ["a", "b"]

        @workflow(workflow_id="tests.async.diverging")
        async def diverging(ctx: WorkflowContext) -> None:
            step: Any = ctx.step
            await asyncio.gather(*(step.run(name, note, name) for name in names))
            await step.sleep("sleep", 1)

        run_id = diverging.trigger()
        hookflow.deliver(run_id)
        names[:] = ["a", "c"]
        run = hookflow.drive(run_id)
        assert run.status == "diverged"
        assert did == ["a", "b"]


class Meeting:
    """``asyncio.Barrier``, which Python 3.10 lacks."""

    def __init__(self, number: int) -> None:
        self._number, self._all = number, asyncio.Event()

    async def wait(self) -> None:
        self._number -= 1
        if not self._number:
            self._all.set()
        await self._all.wait()


class TestAsyncFunctions:
    def test_a_step_of_a_plain_workflow_may_be_async(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.plain")
        def plain(ctx: WorkflowContext) -> Any:
            return ctx.step.run("async", note, 1), ctx.step.run("lambda", lambda: note(2))

        assert hookflow.run(plain).result == {"$tuple": [1, 2]}

    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_orm_works_on_the_connection_of_the_turn(self, hookflow: Hookflow, is_async: bool) -> None:
        threads: list[int] = []

        async def make() -> int:
            user = await User.objects.acreate(username="ada")
            threads.append(threading.get_ident())
            return await User.objects.filter(pk=user.pk).acount()

        if is_async:

            @workflow(workflow_id="tests.async.orm")
            async def orm(ctx: WorkflowContext) -> Any:
                step: Any = ctx.step
                return await step.run("make", make)
        else:

            @workflow(workflow_id="tests.async.orm-plain")
            def orm(ctx: WorkflowContext) -> Any:
                return ctx.step.run("make", make)

        assert hookflow.run(orm).result == 1
        assert threads == [threading.get_ident()]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_timeout_ends_it(self, hookflow: Hookflow, is_async: bool) -> None:
        async def stay() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                did.append("ended")

        if is_async:

            @workflow(workflow_id="tests.async.timeout", retry=ONCE)
            async def timed(ctx: WorkflowContext) -> Any:
                step: Any = ctx.step
                await step.options(timeout=0.05).run("stay", stay)
        else:

            @workflow(workflow_id="tests.async.timeout-plain", retry=ONCE)
            def timed(ctx: WorkflowContext) -> Any:
                _ = ctx.step.options(timeout=0.05).run("stay", stay)

        run = hookflow.run(timed)
        assert run.status == "failed"
        assert run.error_type.endswith(StepTimedOut.__name__)
        assert did == ["ended"]

    def test_one_that_catches_its_cancellation_has_timed_out_all_the_same(self, hookflow: Hookflow) -> None:
        async def stubborn() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "went on"
            return "never"

        @workflow(workflow_id="tests.async.stubborn", retry=ONCE)
        async def timed(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.options(timeout=0.05).run("stubborn", stubborn)

        assert hookflow.run(timed).error_type.endswith(StepTimedOut.__name__)

    def test_one_that_is_cancelled_has_failed(self, hookflow: Hookflow) -> None:
        async def cancelled() -> None:
            raise asyncio.CancelledError

        @workflow(workflow_id="tests.async.cancelled", retry=ONCE)
        async def run_it(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            await step.run("cancelled", cancelled)

        assert "the step's coroutine was cancelled" in hookflow.run(run_it).error_message

    def test_contextvars_come_along(self, hookflow: Hookflow) -> None:
        tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")

        async def look() -> str:
            return tenant.get()

        @workflow(workflow_id="tests.async.context")
        async def context(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.run("look", look)

        token = tenant.set("ada")
        try:
            assert hookflow.run(context).result == "ada"
        finally:
            tenant.reset(token)

    @pytest.mark.parametrize("is_async", [False, True])
    def test_an_atomic_step_is_not_async(self, hookflow: Hookflow, is_async: bool) -> None:
        if is_async:

            @workflow(workflow_id="tests.async.atomic", retry=ONCE)
            async def atomic(ctx: WorkflowContext) -> Any:
                step: Any = ctx.step
                await step.atomic("atomic", note, 1)
        else:

            @workflow(workflow_id="tests.async.atomic-plain", retry=ONCE)
            def atomic(ctx: WorkflowContext) -> Any:
                _ = ctx.step.atomic("atomic", note, 1)

        run = hookflow.run(atomic)
        assert "Django does not support transactions in async code" in run.error_message
        assert did == []

    def test_on_doubt_may_be_async(self, hookflow: Hookflow) -> None:
        async def look_up(key: str) -> str:
            return f"found {len(key)}"

        @workflow(workflow_id="tests.async.doubt")
        async def doubtful(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await step.options(on_doubt=look_up).run("charge", note, "charged")

        hookflow.crash("charge")
        assert hookflow.run(doubtful).result == "found 36"

    def test_stubs_and_crashes_of_the_kit(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.kit")
        async def kit(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await asyncio.gather(step.run("stubbed", note, 1), step.run("crashes", note, 2))

        hookflow.stub("stubbed", "stub")
        hookflow.crash("crashes")
        assert hookflow.run(kit).result == ["stub", 2]
        assert did == [2, 2]


class TestMisuse:
    @pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
    @pytest.mark.parametrize(
        ("misuse", "problem"),
        [
            (lambda ctx: asyncio.sleep(1), "the workflow sleeps outside a step: use ctx.step.sleep"),
            (lambda ctx: asyncio.wait_for(ctx.step.run("a", note, 1), 1), "sleeps outside a step"),
            (lambda ctx: asyncio.to_thread(print), "the workflow uses a thread"),
            (
                lambda ctx: User.objects.acount(),
                "the workflow uses a thread, for example for a database query: do that in a step",
            ),
            (
                lambda ctx: asyncio.Event().wait(),
                "the workflow awaits something that is not a step and never completes",
            ),
            (lambda ctx: ctx.step.run("", note, 1), "step id '' is empty"),
            (lambda ctx: asyncio.gather(ctx.step.run("a", note, 1), ctx.step.run("a", note, 1)), "a"),
            (lambda ctx: ctx.step.run("a", inside, ctx), "step 'b' was called inside step 'a'"),
            (lambda ctx: left_behind(ctx), "the workflow ended without awaiting 'a'"),
            (lambda ctx: forgetting(ctx), "the workflow ended without awaiting 'b', 'c': write 'await ctx.step…'"),
        ],
    )
    def test_is_refused(self, hookflow: Hookflow, misuse: Any, problem: str) -> None:
        @workflow(workflow_id="tests.async.misuse", retry=ONCE)
        async def misusing(ctx: WorkflowContext) -> Any:
            await misuse(ctx)

        run = hookflow.run(misusing)
        gc.collect()  # here, where a coroutine that nobody awaits is expected
        assert run.status == "failed"
        assert problem in run.error_message

    def test_what_catches_everything_does_not_catch_the_end_of_a_turn(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.async.catching")
        async def catching(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            try:
                await step.sleep("sleep", 60)
            except BaseException:
                return "caught"
            return "slept"

        assert hookflow.run(catching).result == "slept"


async def inside(ctx: Any) -> None:
    await ctx.step.run("b", note, 1)


async def left_behind(ctx: Any) -> None:
    task = asyncio.create_task(ctx.step.run("a", note, 1))
    await asyncio.sleep(0)
    del task


async def forgetting(ctx: Any) -> None:
    await ctx.step.run("a", note, 1)
    ctx.step.run("b", note, 1)
    ctx.step.sleep(step_id="c", seconds=1)


def test_atrigger(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.async.triggered")
    async def triggered(ctx: WorkflowContext) -> Any:
        return ctx.data

    run_id = async_to_sync(triggered.atrigger)({"n": 1}, unique="k")
    assert async_to_sync(triggered.atrigger)({"n": 2}, unique="k") == run_id
    assert hookflow.drive(run_id).result == {"n": 1}


class InATransaction(TestCase):
    def test_async_steps_see_it(self) -> None:
        @workflow(workflow_id="tests.async.transaction")
        async def counting(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await asyncio.gather(step.run("count", User.objects.acount), step.run("again", User.objects.acount))

        User.objects.create(username="ada")
        with Hookflow() as hookflow:
            assert hookflow.run(counting).result == [1, 1]
