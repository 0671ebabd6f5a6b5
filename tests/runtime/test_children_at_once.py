"""Many children of one run, and what happens to a run at the moment at which a child of it ends."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.delivery.relay import Relay
from django_hookflow.events import log, types
from django_hookflow.models import OutboxMessage, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime.children import new_child
from django_hookflow.runtime.execution import Execution, Options, Todo
from django_hookflow.runtime.history import History
from django_hookflow.runtime.joining import hand_on
from django_hookflow.runtime.journal import LogJournal
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
        return sum(ctx.step.child(f"part[{n}]", part, {"number": n}) for n in range(ctx.data["parts"]))

    return whole


def start_at_once(whole: Workflow, part: Workflow, number: int) -> WorkflowRun:
    """A run whose turn has begun so many children in one append, and waits for them."""
    run_id = whole.trigger({"parts": number})
    claim = log.claim(whole.workflow_id, run_id, 1, owner="test", lease_seconds=60, facts={})
    with LogJournal(whole.workflow_id, run_id, claim) as journal:
        execution = Execution(journal, History(journal.history(), journal.turn_seq))
        journal.append(*[_wait_for_part(execution, part, n) for n in range(number)], ends_turn=True)
    return WorkflowRun.objects.get(run_id=run_id)


def _wait_for_part(execution: Execution, part: Workflow, number: int) -> log.NewEvent:
    step = execution.begin(f"part[{number}]", types.CHILD, Options())
    assert isinstance(step, Todo)
    new = new_child(execution, step.step_id, part, {"number": number}, None, "cancel")
    return step.suspension(types.CHILD, None, new.run_id, new)


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


def test_the_last_two_children_end_at_once(hookflow: Hookflow, whole: Workflow, part: Workflow) -> None:
    run = start_at_once(whole, part, 2)
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


def test_a_child_ends_while_its_parent_is_being_cancelled(hookflow: Hookflow, whole: Workflow, part: Workflow) -> None:
    run = start_at_once(whole, part, 1)
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


def test_a_parent_is_cancelled_while_its_child_s_end_is_being_joined(
    hookflow: Hookflow, whole: Workflow, part: Workflow
) -> None:
    run = start_at_once(whole, part, 2)
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


@pytest.mark.slow
def test_a_thousand_children_are_joined_once(hookflow: Hookflow, whole: Workflow, part: Workflow) -> None:
    run = start_at_once(whole, part, 1000)
    assert run.children.count() == 1000
    Relay("inline", receive, concurrency=4).run_once()
    while OutboxMessage.objects.exists():
        Relay("inline", receive, concurrency=4).run_once()
    run.refresh_from_db()
    assert (run.status, run.result) == ("completed", sum(range(1000)))
    assert run.events.filter(type="turn.started").count() == 2
    assert run.events.filter(type="step.completed").count() == 1000
    assert list(diff(run.run_id)) == []
