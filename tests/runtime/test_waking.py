"""An operator ends a sleep, or the wait for the next attempt, before its time."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import OperationRefused
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow
from tests.log.calls import session, wait_until_blocked
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.waking.nap")
def nap(ctx: WorkflowContext) -> str:
    ctx.step.sleep("short", seconds=60)
    ctx.step.sleep("long", seconds=3600)
    return "rested"


failures: list[str] = []


def fail_once() -> str:
    if failures:
        failures.clear()
        raise ConnectionError("the bank is away")
    return "paid"


@workflow(workflow_id="tests.waking.retry")
def retrying(ctx: WorkflowContext) -> str:
    return ctx.step.options(retry=Retry(first_delay=3600, jitter=0)).run("charge", fail_once)


def start(hookflow: Hookflow) -> WorkflowRun:
    run_id = nap.trigger()
    assert hookflow.deliver(run_id).answer == "suspended"
    return get(run_id)


def get(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def assert_nothing_differs() -> None:
    assert list(diff()) == []


def test_a_woken_sleep_is_over_and_the_next_one_is_slept_in_full(hookflow: Hookflow) -> None:
    run = start(hookflow)
    before = hookflow.announced(run.run_id)
    assert before is not None
    assert hookflow.deliver(run.run_id).answer == "early"

    assert run.wake(reason="the goods have come", actor="ada") is True

    assert (run.status, run.wake_at) == ("running", None)
    woken, ended = hookflow.events(run.run_id)[-2:]
    assert (ended.type, ended.step_id, ended.actor) == ("step.completed", "short", "ada")
    assert (woken.type, woken.actor, woken.payload["reason"]) == ("run.woken", "ada", "the goods have come")
    assert hookflow.deliver(run.run_id, seq=before.seq).answer == "stale"
    assert hookflow.deliver(run.run_id).answer == "suspended"
    assert hookflow.history(run.run_id)[-2:] == ["step.completed short", "step.suspended long"]
    assert hookflow.deliver(run.run_id).answer == "early"
    assert_nothing_differs()
    assert hookflow.drive(run.run_id).result == "rested"


def test_both_sleeps_can_be_woken_and_a_replay_of_the_history_agrees(hookflow: Hookflow) -> None:
    run = start(hookflow)
    for _ in range(2):
        assert run.wake()
        hookflow.deliver(run.run_id)
    assert get(run.run_id).status == "completed"
    assert hookflow.history(run.run_id) == [
        "run.triggered",
        "step.suspended short",
        "run.woken",
        "step.completed short",
        "step.suspended long",
        "run.woken",
        "step.completed long",
        "run.completed",
    ]
    assert_nothing_differs()


def test_the_turn_that_was_woken_may_die_and_the_next_one_still_knows(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.waking.dies")
    def dies(ctx: WorkflowContext) -> None:
        ctx.step.sleep("nap", seconds=3600)
        ctx.step.run("after", str)

    run_id = dies.trigger()
    hookflow.deliver(run_id)
    get(run_id).wake()
    hookflow.crash("after", "before")
    assert hookflow.deliver(run_id).answer == "crashed"
    hookflow.advance(120)  # the lease runs out, long before the sleep would have ended
    assert hookflow.deliver(run_id).answer == "completed"


def test_a_wait_for_the_next_attempt_ends_and_attempts_go_on_counting(hookflow: Hookflow) -> None:
    failures.append("once")
    run_id = retrying.trigger()
    hookflow.deliver(run_id)
    run = get(run_id)
    assert run.wake_at is not None

    assert run.wake(actor="ada")

    assert hookflow.deliver(run_id).answer == "completed"
    assert get(run_id).step_executions.get().attempts == 2
    assert_nothing_differs()


def test_what_is_not_asleep_is_left_alone(hookflow: Hookflow) -> None:
    run_id = nap.trigger()
    assert get(run_id).wake() is False
    hookflow.deliver(run_id)
    assert [get(run_id).wake(), get(run_id).wake()] == [True, False]
    assert hookflow.history(run_id).count("run.woken") == 1


@pytest.mark.parametrize("status", ["paused", "cancelled", "completed"])
def test_what_does_not_go_on_by_itself_is_refused(hookflow: Hookflow, status: str) -> None:
    run = start(hookflow)
    if status == "completed":
        hookflow.drive(run.run_id)
    else:
        getattr(run, {"paused": "pause", "cancelled": "cancel"}[status])()
    with pytest.raises(OperationRefused, match=f"cannot wake run {run.run_id}: it is {status}"):
        run.wake()


def test_a_paused_sleep_that_is_resumed_can_be_woken(hookflow: Hookflow) -> None:
    run = start(hookflow)
    run.pause()
    run.resume()
    assert run.wake_at is not None
    assert run.wake()
    assert hookflow.deliver(run.run_id).answer == "suspended"
    assert hookflow.history(run.run_id)[-1] == "step.suspended long"


def test_two_who_wake_it_at_once_wake_it_once(hookflow: Hookflow) -> None:
    run = start(hookflow)
    answers: list[Any] = []
    with session() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT FROM django_hookflow_head WHERE run_uid = %s FOR UPDATE", [run.run_uid])
        pids: list[int] = []

        def wake() -> None:
            try:
                connection.ensure_connection()
                pids.append(connection.connection.info.backend_pid)
                answers.append(get(run.run_id).wake())
            finally:
                connection.close()

        threads = [threading.Thread(target=wake) for _ in range(2)]
        for number, thread in enumerate(threads):
            thread.start()
            wait_until(lambda n=number: len(pids) > n, "the session is there")  # type: ignore[misc]
            wait_until_blocked(pids[number], "both wait for the head")
        holder.execute("ROLLBACK")
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False, True]
    assert hookflow.history(run.run_id).count("run.woken") == 1
