"""Runs that begin later, and of which there is one at a time."""

from __future__ import annotations

import datetime
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_hookflow import Retry, Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import InvalidText, OperationRefused
from django_hookflow.models import DeadLetterEntry, Head, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime import operating
from django_hookflow.testing import Hookflow
from django_hookflow.timeline import events_of, present_of, sentence_for, story_of
from tests.log.calls import ask
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.starting.order", retry=Retry(max_attempts=1))
def order(ctx: WorkflowContext) -> Any:
    ctx.step.run("work", divide, ctx.data.get("by", 1))
    return ctx.now().isoformat()


def divide(by: int) -> float:
    return 1 / by


@workflow(workflow_id="tests.starting.timed", timeout=60)
def timed(ctx: WorkflowContext) -> None:
    ctx.step.wait_for_signal("never")


def is_waiting() -> bool:
    return bool(ask("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"))


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


class TestLater:
    @pytest.mark.parametrize("delay", [3600, timedelta(hours=1)])
    def test_a_run_begins_when_its_delay_has_passed(self, hookflow: Hookflow, delay: Any) -> None:
        run_id = order.trigger(delay=delay)
        run = run_of(run_id)
        first = hookflow.events(run_id)[0]
        assert run.status == "pending"
        assert run.wake_at is not None
        assert abs(run.wake_at - first.recorded_at - timedelta(hours=1)) < timedelta(minutes=1)
        due = run.wake_at
        assert hookflow.deliver(run_id).answer == "early"
        assert list(diff()) == []
        run = hookflow.drive(run_id)
        assert run.status == "completed"
        assert datetime.datetime.fromisoformat(str(run.result)) >= due
        assert list(diff()) == []

    def test_at_is_kept_exactly(self, hookflow: Hookflow) -> None:
        at = timezone.now() + timedelta(days=2)
        run_id = order.trigger(at=at)
        assert run_of(run_id).wake_at == at
        assert [event.type for event in hookflow.events(run_id)] == ["run.triggered", "run.delayed"]
        assert hookflow.drive(run_id).status == "completed"

    @pytest.mark.parametrize(
        "when", [{"delay": 0}, {"at": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}]
    )
    def test_what_is_past_is_now(self, hookflow: Hookflow, when: Any) -> None:
        run_id = order.trigger(**when)
        assert run_of(run_id).wake_at is None
        assert hookflow.deliver(run_id).answer == "completed"

    def test_a_timeout_counts_from_the_start(self, hookflow: Hookflow) -> None:
        at = timezone.now() + timedelta(hours=1)
        run_id = timed.trigger(at=at)
        assert run_of(run_id).waits.get(kind="deadline").due_at == at + timedelta(seconds=60)
        hookflow.advance(3601)
        assert hookflow.deliver(run_id).answer == "suspended"
        hookflow.advance(61)
        assert hookflow.deliver(run_id).answer == "failed"

    def test_it_is_woken_paused_and_cancelled_as_any_other(self, hookflow: Hookflow) -> None:
        woken, cancelled, paused = (order.trigger(delay=3600) for _ in range(3))
        assert run_of(woken).wake() is True
        assert hookflow.deliver(woken).answer == "completed"
        assert run_of(cancelled).cancel() is True
        assert ask("SELECT FROM django_hookflow_outbox WHERE run_uid = %s", run_of(cancelled).id) == []
        run = run_of(paused)
        run.pause()
        run.resume()
        assert hookflow.deliver(paused).answer == "early"

    def test_it_says_so(self, hookflow: Hookflow) -> None:
        run = run_of(order.trigger(delay=7200))
        present = present_of(run.id)
        story = story_of(events_of(run.id), present)
        assert sentence_for(run, story, present).startswith("Scheduled, starts in ")
        assert story.life[-1].kind == "sleeping", "it waits for a time, not for a delivery"

    @pytest.mark.parametrize(
        ("when", "error", "problem"),
        [
            ({"delay": 1, "at": timezone.now()}, ValueError, "delay and at cannot be combined"),
            ({"delay": -1}, ValueError, "trigger: delay must be from 0 to"),
            (
                {"delay": float("nan")},
                TypeError,
                "trigger: delay must be a finite number of seconds or a timedelta, not nan",
            ),
            ({"delay": "60"}, TypeError, "not '60'"),
            ({"delay": True}, TypeError, "not True"),
            ({"at": 60}, TypeError, "trigger: at: the moment must be a datetime with a time zone, not 60"),
            ({"at": timezone.now().replace(tzinfo=None)}, ValueError, "has no time zone"),
            ({"at": timezone.now() + timedelta(days=365_00 * 2)}, ValueError, "more than a hundred years ahead"),
            ({"unique": ""}, InvalidText, "unique '' is empty"),
            ({"unique": 17}, InvalidText, "unique 17 is int, not text"),
            ({"unique": "x" * 256}, InvalidText, "is longer than 255 characters"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, when: Any, error: type[Exception], problem: str) -> None:
        with pytest.raises(error) as raised:
            order.trigger(**when)
        assert problem in str(raised.value)
        assert not WorkflowRun.objects.exists()

    def test_it_begins_if_its_transaction_commits(self, hookflow: Hookflow) -> None:
        with transaction.atomic():
            run_id = order.trigger(delay=60, unique="k")
            transaction.set_rollback(True)
        assert not WorkflowRun.objects.filter(run_id=run_id).exists()
        assert order.trigger(unique="k") != run_id


class TestOneAtATime:
    def test_the_run_under_way_is_the_answer(self, hookflow: Hookflow) -> None:
        first = order.trigger({"by": 1}, unique="order-1")
        assert order.trigger({"by": 2}, unique="order-1") == first
        assert order.trigger({"by": 2}, "another-id", unique="order-1") == first
        assert order.trigger(unique="order-2") != first
        assert timed.trigger(unique="order-1") != first
        assert WorkflowRun.objects.count() == 3

    @pytest.mark.parametrize("end", ["completes", "fails", "is cancelled", "times out"])
    def test_the_key_is_free_when_the_run_has_ended(self, hookflow: Hookflow, end: str) -> None:
        chosen: Workflow = timed if end == "times out" else order
        first = chosen.trigger({"by": 0 if end == "fails" else 1}, unique="k")
        if end == "is cancelled":
            run_of(first).cancel()
        elif end == "times out":
            hookflow.advance(61)
            hookflow.deliver(first)
        else:
            hookflow.drive(first)
        assert run_of(first).completed_at is not None
        assert not Head.objects.filter(unique_key="k").exists()
        assert chosen.trigger(unique="k") != first

    def test_the_same_id_with_the_key_is_the_same_run(self, hookflow: Hookflow) -> None:
        run_id = order.trigger({"by": 1}, "order-1", unique="k")
        hookflow.drive(run_id)
        assert order.trigger({"by": 1}, "order-1", unique="k") == run_id
        assert WorkflowRun.objects.count() == 1

    def test_a_failed_run_that_is_replayed_has_its_key_again(self, hookflow: Hookflow) -> None:
        failed = order.trigger({"by": 0}, unique="k")
        hookflow.drive(failed)
        assert DeadLetterEntry.objects.get().replay() == failed
        assert order.trigger(unique="k") == failed
        hookflow.drive(failed)
        assert order.trigger(unique="k") != failed

    @pytest.mark.parametrize("action", ["replay", "rewind", "restart"])
    def test_it_does_not_go_on_while_another_has_the_key(self, hookflow: Hookflow, action: str) -> None:
        failed = order.trigger({"by": 0}, unique="k")
        hookflow.drive(failed)
        other = order.trigger(unique="k")
        letter = DeadLetterEntry.objects.get()

        def go_on() -> object:
            if action == "rewind":
                return run_of(failed).rewind(to_step="work")
            return operating.replay(letter, from_start=action == "restart", actor=None, reason="")

        with pytest.raises(OperationRefused, match=f"run {other} is active with the same unique key"):
            go_on()
        assert run_of(failed).status == "failed"
        hookflow.drive(other)
        assert go_on()

    def test_a_restart_takes_the_key_along(self, hookflow: Hookflow) -> None:
        failed = order.trigger({"by": 0}, unique="k")
        hookflow.drive(failed)
        new = operating.replay(DeadLetterEntry.objects.get(), from_start=True, actor=None, reason="")
        assert order.trigger(unique="k") == new

    def test_a_run_that_is_rewound_while_it_is_under_way_keeps_its_key(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.starting.long")
        def long(ctx: WorkflowContext) -> None:
            ctx.step.run("work", lambda: None)
            ctx.step.sleep("sleep", 60)

        run_id = long.trigger(unique="k")
        hookflow.deliver(run_id)
        run_of(run_id).rewind(to_step="work")
        assert long.trigger(unique="k") == run_id

    def test_of_two_that_start_at_once_one_is_started(self, hookflow: Hookflow) -> None:
        answers: list[str] = []

        def start() -> None:
            try:
                answers.append(order.trigger({"by": 2}, unique="k"))
            finally:
                connection.close()

        other = threading.Thread(target=start)
        with transaction.atomic():
            first = order.trigger({"by": 1}, unique="k")
            other.start()
            wait_until(is_waiting, "the other trigger waits", 20)
        other.join()
        assert answers == [first]
        assert WorkflowRun.objects.count() == 1

    def test_it_waits_for_one_that_is_about_to_end(self, hookflow: Hookflow) -> None:
        answers: list[str] = []

        def start() -> None:
            try:
                answers.append(order.trigger(unique="k"))
            finally:
                connection.close()

        first = order.trigger(unique="k")
        other = threading.Thread(target=start)
        with transaction.atomic():
            run_of(first).cancel()
            other.start()
            wait_until(is_waiting, "the other trigger waits", 20)
        other.join()
        assert answers != [first]
        assert WorkflowRun.objects.count() == 2
