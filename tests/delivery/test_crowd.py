"""Many runs that come due at once: taken together, their turns begun as they are taken, and nobody kept waiting for all of them."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery import outbox
from django_hookflow.delivery.relay import Relay
from django_hookflow.events.log import Beginning
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.trigger import trigger
from django_hookflow.runtime.turn import beginning
from tests.delivery.conftest import Announce, outbox_row
from tests.delivery.test_relay import running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
Advance = Callable[[float], None]

ran: list[str] = []


@workflow(workflow_id="tests.crowd")
def counted(ctx: WorkflowContext) -> None:
    ctx.step.run("note", lambda: ran.append(ctx.run_id))


@workflow(workflow_id="tests.crowd.sleeping")
def sleeping(ctx: WorkflowContext) -> None:
    ctx.step.run("before", int)
    ctx.step.sleep("nap", 60)


@workflow(workflow_id="tests.crowd.stepping")
def stepping(ctx: WorkflowContext) -> None:
    for i in range(10):
        ctx.step.run(f"step-{i}", int)


class Refusing:
    def send(self, work: Any, call: Callable[[], Any]) -> Any:
        raise OSError("not now")


@pytest.fixture(autouse=True)
def inline(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
    ran.clear()


def take(limit: int = 10, **options: Any) -> list[Any]:
    return outbox.take_due(limit, beginning=beginning("inline"), **options)


def event_types(run_id: str) -> list[str]:
    events = WorkflowEvent.objects.filter(workflow_run__run_id=run_id).order_by("seq")
    return list(events.values_list("type", flat=True))


class TestBeginning:
    def test_taking_a_message_begins_its_turn(self) -> None:
        run_id = counted.trigger({"n": 1})

        [message] = take()

        assert event_types(run_id) == ["run.triggered", "turn.started"]
        assert (message.run_id, message.seq, message.attempt) == (run_id, 1, 1)
        assert (message.claim.answer, message.claim.run_uid, message.claim.turn_seq) == ("run", message.run_uid, 2)
        assert [event.type for event in message.claim.history] == ["run.triggered"]
        started = WorkflowEvent.objects.get(workflow_run__run_id=run_id, type="turn.started")
        assert started.facts["transport"] == "inline"
        assert started.facts["attempt"] == 1
        assert started.facts["worker"].endswith(f":{os.getpid()}")

    def test_the_turn_that_has_begun_is_run_and_not_claimed_again(self) -> None:
        run_id = counted.trigger()
        [message] = take()

        assert (
            receive(message.kind, message.workflow_id, run_id, message.seq, claim=message.claim).answer == "completed"
        )

        assert ran == [run_id]
        assert event_types(run_id) == ["run.triggered", "turn.started", "step.completed", "run.completed"]

    def test_several_histories_are_kept_apart(self, advance: Advance) -> None:
        waiting = [sleeping.trigger() for _ in range(2)]
        Relay("inline", receive, concurrency=1).run_once()
        advance(61)
        fresh = counted.trigger()

        messages = take()

        assert [message.run_id for message in messages] == [*waiting, fresh]
        slept = ["run.triggered", "step.completed", "step.suspended", "step.completed"]
        assert [[event.type for event in message.claim.history] for message in messages] == [
            slept,
            slept,
            ["run.triggered"],
        ]

    def test_a_workflow_without_code_here_is_taken_as_a_message(self, announce: Announce) -> None:
        announced = announce("elsewhere", workflow_id="tests.nowhere")

        [message] = take()

        assert message == announced
        assert message.claim is None
        assert event_types("elsewhere") == ["run.triggered"]
        assert outbox_row(announced)["attempts"] == 1

    @pytest.mark.parametrize("begins", [None, Beginning([], "nobody", 60.0, {})], ids=["sends", "knows no workflow"])
    def test_who_runs_nothing_itself_begins_nothing(self, begins: Beginning | None) -> None:
        run_id = counted.trigger()

        [message] = outbox.take_due(10, beginning=begins)

        assert message.claim is None
        assert event_types(run_id) == ["run.triggered"]

    def test_a_run_whose_time_is_up_fails_and_there_is_nothing_to_send(self, advance: Advance) -> None:
        run_id = trigger("tests.crowd", {}, None, timeout=5)
        advance(6)

        assert take() == []

        assert WorkflowRun.objects.get(run_id=run_id).error_type == "RunTimedOut"

    def test_a_turn_that_was_lost_is_begun_again(self, advance: Advance) -> None:
        run_id = counted.trigger()
        take()
        assert take() == []
        advance(3_600)

        [message] = take()

        assert event_types(run_id) == ["run.triggered", "turn.started", "turn.abandoned", "turn.started"]
        assert message.attempt == 2

    def test_a_run_that_somebody_is_changing_is_passed_over(self) -> None:
        changing, still = counted.trigger(), counted.trigger()
        other = connection.copy()
        try:
            with other.cursor() as c:
                other.set_autocommit(False)
                c.execute("SELECT FROM django_hookflow_head WHERE run_id = %s FOR NO KEY UPDATE", [changing])
                assert [message.run_id for message in take()] == [still]
                other.rollback()
        finally:
            other.close()
        assert [message.run_id for message in take()] == [changing]

    def test_one_that_cannot_be_begun_keeps_no_other_from_it(
        self, announce: Announce, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its history is damaged, say: what is begun together fails together, and then is begun one by one."""
        good = counted.trigger()
        bad = counted.trigger()
        with connection.cursor() as c:  # its next event is there already
            c.execute("UPDATE django_hookflow_head SET last_seq = 0 WHERE run_id = %s", [bad])
        relay = Relay("inline", receive, beginning=beginning)

        with caplog.at_level(logging.CRITICAL, "django_hookflow"):
            relay.run_once()

        assert ran == [good]
        assert relay.failed == 1
        assert event_types(bad) == ["run.triggered"]

    def test_a_turn_that_was_begun_and_cannot_be_run_is_handed_back(self, settings: Settings, advance: Advance) -> None:
        """What the project has put around sending fails, say: the run does not wait for a lease to run out."""
        settings.DJANGO_HOOKFLOW_WRAPPERS = ["tests.delivery.test_crowd.Refusing"]
        run_id = counted.trigger()
        relay = Relay("inline", receive, beginning=beginning)

        relay.run_once()

        assert (relay.sent, relay.failed, ran) == (0, 1, [])
        settings.DJANGO_HOOKFLOW_WRAPPERS = []
        advance(30)
        assert relay.run_once() == 1
        assert ran == [run_id]

    def test_nothing_is_begun_where_no_turn_could_be_run(self, settings: Settings) -> None:
        settings.DJANGO_HOOKFLOW_WRAPPERS = ["tests.delivery.nowhere"]
        run_id = counted.trigger()

        relay = Relay("inline", receive, beginning=beginning)
        relay.run_once()

        assert relay.failed == 1
        assert event_types(run_id) == ["run.triggered"]


class TestFairness:
    def test_new_runs_can_be_taken_first_the_newest_of_them(self, announce: Announce, advance: Advance) -> None:
        for i in range(4):
            announce(f"woken-{i}", delay=1)
        for i in range(3):
            announce(f"new-{i}")
        advance(1)
        announce("woken-last", delay=0.001)
        advance(2)

        def taken(limit: int, *, is_new_first: bool = False) -> list[str]:
            return [message.run_id for message in outbox.take_due(limit, is_new_first=is_new_first)]

        assert taken(1) == ["new-0"]
        assert taken(1, is_new_first=True) == ["new-2"]
        assert taken(3, is_new_first=True) == ["new-1", "woken-0", "woken-1"]
        assert taken(1, is_new_first=True) == ["woken-2"]
        assert taken(10) == ["woken-3", "woken-last"]

    @pytest.mark.parametrize("begins", [beginning, None])
    def test_a_new_run_does_not_wait_for_a_crowd_nor_a_crowd_for_new_runs(
        self, begins: Callable[[str], Beginning | None] | None
    ) -> None:
        """A run triggered behind forty is among the next few; the oldest go on being run while newer ones come."""
        crowd = [counted.trigger({}, f"old-{i:02}") for i in range(40)]
        done: list[str] = []

        def receive_and_trigger(*message: Any, **options: Any) -> Any:
            result = receive(*message, **options)
            done.append(message[2])
            if len(done) == 4:
                counted.trigger({}, "new")
            if 10 <= len(done) < 30:  # as many newer ones as can be run
                counted.trigger({}, f"newer-{len(done)}")
            return result

        relay = Relay("inline", receive_and_trigger, concurrency=1, beginning=begins)
        with running(relay):
            wait_until(lambda: len(done) == 61, "all have run", 60)

        assert done.index("new") <= 8
        during = done[10:30]
        assert 8 <= sum(run_id in crowd for run_id in during) <= 12
        assert Counter(done).most_common(1)[0][1] == 1


def test_a_crowd_that_takes_a_turn_for_each_step_does_not_keep_a_new_run_waiting(settings: Settings) -> None:
    """Each of its turns announces another, which is newer than the new run."""
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    for i in range(20):
        stepping.trigger({}, f"old-{i:02}")
    turns: list[str] = []

    def receive_and_trigger(*message: Any, **options: Any) -> Any:
        result = receive(*message, **options)
        turns.append(message[2])
        if len(turns) == 30:
            counted.trigger({}, "new")
        return result

    relay = Relay("inline", receive_and_trigger, concurrency=1, beginning=beginning)
    with running(relay):
        wait_until(lambda: "new" in turns, "the new run has begun", 60)
        begun = turns.index("new")

    assert begun <= 34


def test_a_crowd_is_taken_by_few_statements() -> None:
    """Eight hands that get free one by one are filled together, as long as there is more to do than they can."""
    for i in range(60):
        counted.trigger({}, f"run-{i}")
    taking: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        taking.extend([sql] if "hookflow_take(" in sql else [])
        return execute(sql, *rest)

    relay = Relay("inline", receive, beginning=beginning)
    with connection.execute_wrapper(note):
        relay.run_once()

    assert relay.sent == 60
    assert len(taking) <= 30
    wait_until(lambda: WorkflowRun.objects.filter(status="completed").count() == 60, "all have run")
