"""Wrappers whose methods are async, and plain ones around async work: in which order, with what context, and what passes through."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection

from django_hookflow import Retry, Workflow, WorkflowContext, workflow
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import StepCompleted, StepTimedOut
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from django_hookflow.wrappers import Work
from tests.runtime.conftest import Project

pytestmark = pytest.mark.django_db(transaction=True)

ONCE = Retry(max_attempts=1)
#: Its own class before Python 3.11.
NAME_OF_TIMEOUT = "TimeoutError" if asyncio.TimeoutError is TimeoutError else "asyncio.exceptions.TimeoutError"
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
did: list[str] = []
made_before = itertools.count()

Call = Callable[[], Any]


@pytest.fixture(autouse=True)
def _forget() -> None:
    did.clear()


class Plain:
    """Notes its name around steps, and sets the tenant for what is inside of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, work: Work, call: Call) -> Any:
        token = tenant.set(f"{tenant.get()} {self.name}")
        did.append(self.name)
        try:
            return call()
        finally:
            did.append(f"/{self.name}")
            tenant.reset(token)


class Async:
    """The same, and it awaits: the loop's time and the database."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def step(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)
        token = tenant.set(f"{tenant.get()} {self.name}")
        did.append(f"{self.name}{await User.objects.acount()}")
        try:
            return await call()
        finally:
            await asyncio.sleep(0)
            did.append(f"/{self.name}")
            tenant.reset(token)


class Both(Plain):
    """Has a method of its own for steps that are awaited."""

    astep = Async.step


def plain_work() -> str:
    did.append("work")
    return tenant.get()


async def async_work() -> str:
    await asyncio.sleep(0)
    assert await sync_to_async(threading.get_ident)() == threading.main_thread().ident, "its database is the turn's"
    did.append(f"work{await User.objects.acount()}")
    return tenant.get()


def make(is_async: bool, verb: str, work: Callable[[], Any], **options: Any) -> Workflow:
    """A workflow of the one step ``s``."""
    if is_async:

        @workflow(workflow_id=f"tests.async_wrappers.made-{next(made_before)}", retry=ONCE)
        async def made(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await getattr(step.options(**options), verb)("s", work)
    else:

        @workflow(workflow_id=f"tests.async_wrappers.made-{next(made_before)}", retry=ONCE)
        def made(ctx: WorkflowContext) -> Any:
            return getattr(ctx.step.options(**options), verb)("s", work)

    return made


def run_alone(made: Workflow) -> WorkflowRun:
    """Runs it without the kit, which would be one more that is around the steps."""
    run_id = made.trigger()
    assert receive("turn", made.workflow_id, run_id, 1).retry_after is None
    return WorkflowRun.objects.get(run_id=run_id)


KINDS = {
    "plain": (False, "run", plain_work),
    "atomic": (False, "atomic", plain_work),
    "async": (False, "run", async_work),
    "plain_awaited": (True, "run", plain_work),
    "atomic_awaited": (True, "atomic", plain_work),
    "async_awaited": (True, "run", async_work),
}
CHAINS: dict[str, list[Any]] = {
    "async": [Async("a")],
    "plain": [Plain("a")],
    "async_twice": [Async("a"), Async("b")],
    "async_outside": [Async("a"), Plain("b")],
    "async_inside": [Plain("a"), Async("b")],
    "both_in_async": [Async("a"), Both("b"), Async("c")],
    "each_in_turn": [Plain("a"), Async("b"), Plain("c"), Async("d")],
}


class TestAroundSteps:
    @pytest.mark.parametrize("with_kit", [False, True])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("chain", CHAINS)
    def test_order_context_and_the_database(
        self, settings: Any, project: Project, chain: str, kind: str, with_kit: bool
    ) -> None:
        project.use(**{wrapper.name: wrapper for wrapper in CHAINS[chain]})
        if with_kit:
            with Hookflow() as kit:
                run = kit.run(make(*KINDS[kind]))
        else:
            settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
            run = run_alone(make(*KINDS[kind]))
        names = [wrapper.name for wrapper in CHAINS[chain]]
        assert run.result == " ".join(["nobody", *names]), run.error_message
        assert [each.rstrip("0") for each in did] == [*names, "work", *(f"/{name}" for name in reversed(names))]

    def test_each_has_its_method(self, hookflow: Hookflow, project: Project) -> None:
        """``astep`` is for a step that is awaited, ``step`` for another."""
        project.use(b=Both("b"))
        hookflow.run(make(*KINDS["async_awaited"]))
        assert did == ["b0", "work0", "/b"]
        did.clear()
        hookflow.run(make(*KINDS["plain_awaited"]))
        hookflow.run(make(*KINDS["async"]))
        assert did == ["b", "work", "/b", "b", "work0", "/b"]

    def test_a_step_that_is_awaited_alone_is_around_others_too(self, hookflow: Hookflow, project: Project) -> None:
        class OnlyAwaited:
            astep = Async.step
            name = "a"

        project.use(a=OnlyAwaited)
        assert hookflow.run(make(*KINDS["plain"])).result == "nobody a"

    @pytest.mark.parametrize("chain", CHAINS)
    def test_many_at_once(self, hookflow: Hookflow, project: Project, chain: str) -> None:
        """None of them waits for a thread that others have, which wait for it."""
        project.use(**{wrapper.name: wrapper for wrapper in CHAINS[chain]})
        arrived: list[asyncio.Event] = []

        async def meet(number: int) -> str:
            arrived.append(mine := asyncio.Event())
            if len(arrived) == 20:
                for each in arrived:
                    each.set()
            await mine.wait()
            return tenant.get()

        @workflow(workflow_id="tests.async_wrappers.many")
        async def many(ctx: WorkflowContext) -> Any:
            step: Any = ctx.step
            return await asyncio.gather(*(step.run(f"s{n}", meet, n) for n in range(20)))

        names = [wrapper.name for wrapper in CHAINS[chain]]
        assert hookflow.run(many).result == [" ".join(["nobody", *names])] * 20

    def test_what_it_writes_around_an_atomic_step_commits_or_not_with_it(
        self, hookflow: Hookflow, project: Project
    ) -> None:
        class Writes:
            async def step(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
                await User.objects.acreate(username=work.run_id)
                return await call()

        def refuse() -> None:
            assert connection.in_atomic_block
            assert User.objects.count() == 1
            raise ValueError("refused")

        project.use(w=Writes)
        assert (
            hookflow.run(make(False, "atomic", refuse)).error_message
            == "step 's' failed after 1 attempt: ValueError: refused"
        )
        assert User.objects.count() == 0


class Watches:
    """Notes the errors of steps, as one that reports them does."""

    seen: list[BaseException]

    async def step(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await call()
        except BaseException as error:
            self.seen.append(error)
            raise


class TestErrors:
    @pytest.fixture(autouse=True)
    def _watch(self, project: Project) -> None:
        Watches.seen = []
        project.use(w=Watches)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (OSError("no disk"), "OSError: no disk"),
            (asyncio.TimeoutError("slow"), f"{NAME_OF_TIMEOUT}: slow"),
            (StopIteration("empty"), "RuntimeError: coroutine raised StopIteration"),
        ],
    )
    def test_of_the_work(self, hookflow: Hookflow, kind: str, error: Exception, said: str) -> None:
        is_async, verb, work = KINDS[kind]

        def fail() -> None:
            raise error

        async def afail() -> None:
            raise error

        run = hookflow.run(make(is_async, verb, afail if work is async_work else fail))
        assert run.status == "failed"
        assert run.error_message == f"step 's' failed after 1 attempt: {said}"
        assert len(Watches.seen) == 1

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_timeout_ends_the_work_and_reaches_the_wrapper(self, hookflow: Hookflow, is_async: bool) -> None:
        async def stay() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                did.append("ended")

        run = hookflow.run(make(is_async, "run", stay, timeout=0.05))
        assert run.error_type.endswith(StepTimedOut.__name__)
        assert did == ["ended"]
        assert [type(error) for error in Watches.seen] == [StepTimedOut]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_the_wrapper(self, hookflow: Hookflow, project: Project, kind: str) -> None:
        class Refuses:
            async def step(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
                await call()
                raise ValueError("refused afterwards")

        project.use(w=Watches, r=Refuses)
        assert "refused afterwards" in hookflow.run(make(*KINDS[kind])).error_message
        assert [str(error) for error in Watches.seen] == ["refused afterwards"]

    def test_of_a_plain_wrapper_where_a_thread_waits(self, hookflow: Hookflow, project: Project) -> None:
        class Empty:
            def step(self, work: Work, call: Call) -> Any:
                raise StopIteration("empty")

        project.use(e=Empty)
        assert "StopIteration" in hookflow.run(make(*KINDS["async_awaited"])).error_message

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_result_that_is_forgotten(self, hookflow: Hookflow, project: Project, kind: str) -> None:
        class Forgets:
            async def step(self, work: Work, call: Callable[[], Awaitable[Any]]) -> None:
                await call()

        project.use(f=Forgets)
        run = hookflow.run(make(*KINDS[kind]))
        assert "returned None, but the wrapped work did not: return await call()" in run.error_message

    def test_one_that_is_cancelled_with_its_turn(self, hookflow: Hookflow) -> None:
        """The workflow fails while the step is at work."""

        async def stay() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                did.append("ended")

        def fail() -> None:
            raise OSError("no")

        @workflow(workflow_id="tests.async_wrappers.cancelled", retry=ONCE)
        async def cancelled(ctx: WorkflowContext) -> None:
            step: Any = ctx.step
            await asyncio.gather(step.run("stays", stay), step.run("fails", fail))

        assert hookflow.run(cancelled).error_message == "step 'fails' failed after 1 attempt: OSError: no"
        assert did == ["ended"]
        assert [type(error).__name__ for error in Watches.seen if "fails" not in str(error)][-1] == "CancelledError"


class TestAroundTurns:
    @pytest.mark.parametrize("is_async", [False, True])
    def test_it_awaits_and_its_context_is_that_of_the_workflow(
        self, hookflow: Hookflow, project: Project, is_async: bool
    ) -> None:
        ended: list[str] = []

        class InTenant:
            async def turn(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
                user = await User.objects.aget(username=work.data["user"])
                tenant.set(user.username)
                try:
                    result = await call()
                except StepCompleted:
                    ended.append("waits")
                    raise
                ended.append("completes")
                return [result, work.kind]

        project.use(t=InTenant)
        User.objects.create(username="ada")
        if is_async:

            @workflow(workflow_id="tests.async_wrappers.turn")
            async def turn(ctx: WorkflowContext) -> Any:
                step: Any = ctx.step
                await step.sleep("pause", 60)
                return [tenant.get(), await step.run("s", async_work), await step.run("p", plain_work)]
        else:

            @workflow(workflow_id="tests.async_wrappers.turn")
            def turn(ctx: WorkflowContext) -> Any:
                ctx.step.sleep("pause", 60)
                return [tenant.get(), ctx.step.run("s", async_work), ctx.step.run("p", plain_work)]

        run = hookflow.run(turn, {"user": "ada"})
        assert run.result == [["ada", "ada", "ada"], "turn"], run.error_message
        assert ended == ["waits", "completes"]

    def test_what_it_raises_is_the_workflow_s(self, hookflow: Hookflow, project: Project) -> None:
        class InTenant:
            async def turn(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
                return await User.objects.aget(username="nobody")

        project.use(t=InTenant)
        run = hookflow.run(make(*KINDS["async_awaited"]))
        assert (run.status, run.error_message) == ("failed", "User matching query does not exist.")
        assert did == []


def test_around_sending(settings: Any, project: Project) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"

    class Notes:
        async def send(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
            did.append(f"{work.kind} {await User.objects.acount()}")
            result = await call()
            did.append("sent")
            return result

    project.use(n=Notes)
    make(*KINDS["plain_awaited"]).trigger()
    Relay("inline", receive, concurrency=1).run_once()
    assert WorkflowRun.objects.get().status == "completed"
    assert did == ["turn 0", "work", "sent"]
