"""A signal at the very moment of something else: the second session is seen waiting before the first goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from django_hookflow import Workflow, WorkflowContext, workflow, wrappers
from django_hookflow.exceptions import OperationRefused
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow
from tests.log.calls import wait_until_blocked
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def types_of(hookflow: Hookflow, run_id: str) -> list[str]:
    return [event.type for event in hookflow.events(run_id)]


@pytest.fixture(autouse=True)
def _projections_hold() -> Iterator[None]:
    yield
    assert list(diff()) == []


@pytest.fixture
def twice() -> Workflow:
    @workflow(workflow_id="tests.races.twice")
    def twice(ctx: WorkflowContext) -> list[Any]:
        first = ctx.step.wait_for_signal("first", name="s", timeout=60, default="nobody")
        return [first, ctx.step.wait_for_signal("second", name="s", timeout=600, default="nobody")]

    return twice


def begin_blocked(work: Callable[[], Any]) -> Future[Any]:
    """``work`` in a session of its own, seen waiting for what this one has not committed."""
    pids: list[int] = []

    def act() -> Any:
        connection.ensure_connection()
        pids.append(connection.connection.info.backend_pid)
        try:
            return work()
        finally:
            connection.close()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(act)
    pool.shutdown(wait=False)
    wait_until(lambda: pids, "a session begins")
    wait_until_blocked(pids[0], "it waits for this one")
    return future


@contextmanager
def sent_when_blocked(run_id: str, value: Any) -> Iterator[None]:
    """Another session has sent a signal, and commits once this one is seen waiting for it."""
    pid = connection.connection.info.backend_pid
    sent = threading.Event()

    def send() -> None:
        try:
            with transaction.atomic():
                run_of(run_id).signal("s", value)
                sent.set()
                wait_until_blocked(pid, "the turn waits for the signal")
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(send)
        assert sent.wait(60)
        yield
    future.result()


class TestTheWait:
    def test_the_signal_first(self, hookflow: Hookflow) -> None:
        """The turn does not know of it when it begins to wait: that is refused, and the next turn takes the signal."""
        passes: list[int] = []

        @workflow(workflow_id="tests.races.waits")
        def waits(ctx: WorkflowContext) -> Any:
            passes.append(1)
            if len(passes) > 1:
                return ctx.step.wait_for_signal("s")
            with sent_when_blocked(ctx.run_id, "yes"):
                return ctx.step.wait_for_signal("s")

        run_id = waits.trigger()
        assert hookflow.deliver(run_id).answer == "lost"
        assert hookflow.drive(run_id).result == "yes"
        assert "step.suspended" not in types_of(hookflow, run_id)

    def test_the_wait_first(self, hookflow: Hookflow, twice: Workflow) -> None:
        run_id = twice.trigger()
        with transaction.atomic():
            assert hookflow.deliver(run_id).answer == "suspended"
            sent = begin_blocked(lambda: run_of(run_id).signal("s", "yes"))
        assert sent.result(60) is True
        assert hookflow.drive(run_id).result == ["yes", "nobody"]


class TestTheTimeout:
    def test_the_signal_first(self, hookflow: Hookflow, twice: Workflow) -> None:
        """Its time is up and it is being settled: what is in the log first counts."""
        run_id = twice.trigger()
        hookflow.deliver(run_id)
        hookflow.advance(61)
        with transaction.atomic():
            run_of(run_id).signal("s", "just in time")
            answer = begin_blocked(lambda: hookflow.deliver(run_id).answer)
        answer.result(60)
        assert hookflow.drive(run_id).result == ["just in time", "nobody"]

    def test_the_timeout_first(self, hookflow: Hookflow, twice: Workflow) -> None:
        run_id = twice.trigger()
        hookflow.deliver(run_id)
        hookflow.advance(61)
        with transaction.atomic():
            assert hookflow.deliver(run_id).answer == "suspended", "in the second wait"
            sent = begin_blocked(lambda: run_of(run_id).signal("s", "too late for the first"))
        assert sent.result(60) is True
        assert hookflow.drive(run_id).result == ["nobody", "too late for the first"]


class TestTheEnd:
    @pytest.mark.parametrize("end", ["completes", "is cancelled"])
    def test_the_end_first(self, hookflow: Hookflow, end: str) -> None:
        brief = workflow(workflow_id=f"tests.races.brief-{end.split()[-1]}")(lambda ctx: "done")
        run_id = brief.trigger()
        with transaction.atomic():
            if end == "completes":
                assert hookflow.deliver(run_id).answer == "completed"
            else:
                run_of(run_id).cancel()
            sent = begin_blocked(lambda: run_of(run_id).signal("s", 1))
        with pytest.raises(OperationRefused, match="it is (completed|cancelled)"):
            sent.result(60)
        assert "signal.received" not in types_of(hookflow, run_id)

    def test_the_signal_first(self, hookflow: Hookflow) -> None:
        """The turn that ends the run did not know of it: the run looks again whether it is what it waits for, and ends."""
        passes: list[int] = []

        @workflow(workflow_id="tests.races.ends")
        def ends(ctx: WorkflowContext) -> str:
            passes.append(1)
            return "done"

        # What is appended when the function has returned has to wait, so the sender commits in a wrapper around the turn.
        class Around:
            def turn(self, work: Any, call: Callable[[], Any]) -> Any:
                result = call()
                if len(passes) == 1:
                    stack.enter_context(sent_when_blocked(work.run_id, "late"))
                return result

        run_id = ends.trigger()
        around = Around()
        wrappers.innermost.append(around)
        try:
            with ExitStack() as stack:
                assert hookflow.deliver(run_id).answer == "lost"
        finally:
            wrappers.innermost.remove(around)
        run = hookflow.drive(run_id)
        assert (run.status, run.result, len(passes)) == ("completed", "done", 2)
        assert types_of(hookflow, run_id).count("signal.received") == 1


class TestOneId:
    @pytest.mark.parametrize("is_committed", [True, False])
    def test_the_second_waits_for_what_comes_of_the_first(
        self, hookflow: Hookflow, twice: Workflow, is_committed: bool
    ) -> None:
        run_id = twice.trigger()
        hookflow.deliver(run_id)
        with transaction.atomic():
            assert run_of(run_id).signal("s", 1, id="once") is True
            sent = begin_blocked(lambda: run_of(run_id).signal("s", 2, id="once"))
            transaction.set_rollback(not is_committed)
        assert sent.result(60) is not is_committed
        assert hookflow.drive(run_id).result == [1 if is_committed else 2, "nobody"]
