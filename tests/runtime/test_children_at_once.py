"""Many children of one run, and what happens to a run at the moment at which a child of it ends."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime.joining import hand_on
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.log.calls import announced, session, wait_until_blocked

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def part() -> Workflow:
    @workflow(workflow_id="tests.at_once.part")
    def part(ctx: WorkflowContext) -> Any:
        return ctx.data["number"]

    return part


@pytest.fixture
def whole(part: Workflow) -> Workflow:
    @workflow(workflow_id="tests.at_once.whole")
    def whole(ctx: WorkflowContext) -> Any:
        items = [{"number": number} for number in range(ctx.data["parts"])]
        return sum(ctx.step.map("part", part, items, max_workers=ctx.data.get("max_workers", 1_000)))

    return whole


def start_at_once(hookflow: Hookflow, whole: Workflow, number: int, **data: Any) -> WorkflowRun:
    """A run that waits for so many children."""
    run_id = whole.trigger({"parts": number, **data})
    assert hookflow.deliver(run_id).answer == "suspended"
    return WorkflowRun.objects.get(run_id=run_id)


class Session(threading.Thread):
    """Work on a connection of its own; ``pid`` is its server process."""

    def __init__(self, work: Any) -> None:
        super().__init__()
        self.work, self.pid, self.ready = work, 0, threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        connection.ensure_connection()
        self.pid = connection.connection.info.backend_pid
        self.ready.set()
        try:
            self.work()
        except Exception as error:
            self.error = error
        finally:
            connection.close()


def in_thread(work: Any) -> Session:
    thread = Session(work)
    thread.start()
    assert thread.ready.wait(30)
    return thread


JOIN = "SELECT applied, seq FROM hookflow_join(%s, %s, %s, NULL, '{\"result\": 1}', NULL, NULL)"


def join(child: WorkflowRun, other: psycopg.Connection[Any]) -> Any:
    return other.execute(JOIN.encode(), [child.parent_id, child.parent_step, child.run_id]).fetchone()


def test_the_last_two_children_end_at_once(hookflow: Hookflow, whole: Workflow) -> None:
    run = start_at_once(hookflow, whole, 2)
    first, second = run.children.order_by("parent_step")
    with session() as one:
        with one.transaction():
            assert join(first, one) == (True, None), "there is another to wait for"
            thread = in_thread(lambda: receive("turn", second.workflow_id, second.run_id, 1))
            wait_until_blocked(thread.pid, "the other child's end waits for the parent's log")
            assert announced(run.run_uid) is None
        thread.join()
    assert thread.error is None
    turn = announced(run.run_uid)
    assert turn is not None
    assert turn["seq"] == 6  # triggered, begun, two waits, both of which are settled
    hookflow.deliver(first.run_id)
    assert hookflow.drive(run.run_id).result == 2
    assert list(diff()) == []


def test_a_child_ends_while_its_parent_is_being_cancelled(hookflow: Hookflow, whole: Workflow) -> None:
    run = start_at_once(hookflow, whole, 1)
    child = run.children.get()
    with session() as one:
        with one.transaction():
            one.execute(
                "SELECT hookflow_operate(%s, 'cancel', NULL, '{}', '{\"reason\": \"\"}', 'ada', NULL, NULL)",
                [run.run_uid],
            )
            thread = in_thread(lambda: receive("turn", child.workflow_id, child.run_id, 1))
            wait_until_blocked(thread.pid, "the child's end waits for the parent's log")
        thread.join()
    assert thread.error is None
    hand_on(run.run_uid)
    run.refresh_from_db()
    child.refresh_from_db()
    assert (run.status, child.status) == ("cancelled", "completed")
    assert not run.events.filter(type="step.completed").exists()
    assert OutboxMessage.objects.count() == 0
    assert list(diff()) == []


def test_a_parent_is_cancelled_while_its_child_s_end_is_being_joined(hookflow: Hookflow, whole: Workflow) -> None:
    run = start_at_once(hookflow, whole, 2)
    first, second = run.children.order_by("parent_step")
    with session() as one:
        with one.transaction():
            join(first, one)
            thread = in_thread(lambda: WorkflowRun.objects.get(pk=run.pk).cancel())
            wait_until_blocked(thread.pid, "the operator waits for the parent's log")
        thread.join()
    assert thread.error is None
    second.refresh_from_db()
    run.refresh_from_db()
    assert (run.status, second.status) == ("cancelled", "cancelled")
    assert run.events.get(type="step.completed").step_id == "part[0]"
    assert list(diff()) == []


def test_who_cancels_a_parent_of_many_leaves_most_to_a_relay(hookflow: Hookflow, whole: Workflow) -> None:
    run = start_at_once(hookflow, whole, 250)
    run.cancel()
    assert run.children.filter(status="cancelled").count() == 100
    hand_on(run.pk)  # a relay's: of the ends of all that it cancels, too
    assert run.children.filter(status="cancelled").count() == 250
    hookflow.advance(6)
    Relay("inline", receive, concurrency=2).run_once()
    assert OutboxMessage.objects.count() == 0


@pytest.mark.slow
def test_a_thousand_children_are_joined_once(hookflow: Hookflow, whole: Workflow) -> None:
    run = start_at_once(hookflow, whole, 1000)
    assert run.children.count() == 1000
    Relay("inline", receive, concurrency=4).run_once()
    while OutboxMessage.objects.exists():
        Relay("inline", receive, concurrency=4).run_once()
    run.refresh_from_db()
    assert (run.status, run.result) == ("completed", sum(range(1000)))
    assert run.events.filter(type="turn.started").count() == 2
    assert run.events.filter(type="step.completed").count() == 1000
    assert list(diff(run.run_id)) == []


class TestMap:
    def test_so_many_at_once_as_it_says(self, hookflow: Hookflow, whole: Workflow) -> None:
        run = start_at_once(hookflow, whole, 5, max_workers=2)
        assert run.children.count() == 2
        run = hookflow.drive(run.run_id)
        assert (run.status, run.result, run.children.count()) == ("completed", 10, 5)
        assert run.events.filter(type="turn.started").count() == 4
        assert list(diff()) == []

    def test_the_results_are_in_order_and_steps_named_by_key(self, hookflow: Hookflow, part: Workflow) -> None:
        @workflow(workflow_id="tests.at_once.keyed")
        def keyed(ctx: WorkflowContext) -> list[Any]:
            items = [{"number": 3}, {"number": 1}]
            return [ctx.step.map("p", part, items, key=lambda item: item["number"]), ctx.step.map("none", part, [])]

        run = hookflow.run(keyed)
        assert run.result == [[3, 1], []]
        assert {child.parent_step for child in run.children.all()} == {"p[3]", "p[1]"}

    def test_the_first_failure_is_raised_when_all_have_ended(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.at_once.failing")
        def failing(ctx: WorkflowContext) -> Any:
            if ctx.data["fails"]:
                raise ValueError(f"no {ctx.data['fails']}")

        @workflow(workflow_id="tests.at_once.caught")
        def caught(ctx: WorkflowContext) -> Any:
            try:
                ctx.step.map("p", failing, [{"fails": number} for number in (0, 1, 2)])
            except WorkflowError as error:
                return [error.step_id, str(error.__cause__)]

        run = hookflow.run(caught)
        assert run.result == ["p[1]", "no 1"]
        assert sorted(child.status for child in run.children.all()) == ["completed", "failed", "failed"]

    def test_a_replay_starts_the_one_that_failed_again_and_no_other(self, hookflow: Hookflow) -> None:
        tries: list[int] = []

        @workflow(workflow_id="tests.at_once.second_time")
        def second_time(ctx: WorkflowContext) -> Any:
            tries.append(ctx.data["number"])
            if ctx.data["number"] == 1 and tries.count(1) == 1:
                raise ValueError("not yet")
            return ctx.data["number"]

        @workflow(workflow_id="tests.at_once.replayed")
        def replayed(ctx: WorkflowContext) -> Any:
            return ctx.step.map("p", second_time, [{"number": number} for number in range(4)])

        run = hookflow.run(replayed)
        assert run.status == "failed"
        DeadLetterEntry.objects.get(run_uid=run.run_uid).replay()
        run = hookflow.drive(run.run_id)
        assert (run.status, run.result) == ("completed", [0, 1, 2, 3])
        assert sorted(tries) == [0, 1, 1, 2, 3]
        run.rewind(to_step="p[2]")
        assert hookflow.drive(run.run_id).result == [0, 1, 2, 3]

    @pytest.mark.parametrize("given", [{"max_workers": 0}, {"max_workers": True}, {"key": lambda item: "same"}])
    def test_what_makes_no_sense_starts_nothing(
        self, hookflow: Hookflow, part: Workflow, given: dict[str, Any]
    ) -> None:
        @workflow(workflow_id="tests.at_once.bad")
        def bad(ctx: WorkflowContext) -> Any:
            return ctx.step.map("p", part, [{"number": 1}, {"number": 2}], **given)

        run = hookflow.run(bad)
        assert run.status == "failed"
        assert run.children.count() == 0
