"""What is said of a run in every status and in every way of waiting, made with the real engine on a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.timeline import Present, events_of, present_of, say, tell
from tests.log.calls import ask, claim
from tests.timeline import shop
from tests.timeline.frozen import worker_renamed

if TYPE_CHECKING:
    from tests.timeline.frozen import Stage

pytestmark = pytest.mark.django_db

RUN_ID = "order-1"
UNREACHABLE = ConnectionError("bank.example does not answer")


def said() -> str:
    """What is said of the run now."""
    run = WorkflowRun.objects.get(run_id=RUN_ID)
    present = present_of(run.run_uid)
    return worker_renamed(say(run, tell(events_of(run.run_uid), present), present))


def said_as_of(seq: int) -> str:
    run = WorkflowRun.objects.get(run_id=RUN_ID)
    events = list(events_of(run.run_uid, seq))
    present = Present(now=events[-1].recorded_at)
    return worker_renamed(say(run.as_of(seq), tell(events, present), present))


def listen(stage: Stage) -> list[str]:
    """What is said while steps are at work, one after another."""
    heard: list[str] = []

    def work(seconds: float) -> None:
        heard.append(said())
        stage.work(seconds)

    shop.work = work
    return heard


def begin(stage: Stage, workflow: Any = shop.order, **options: Any) -> WorkflowRun:
    return stage.trigger(workflow, RUN_ID, **options)


def fall_asleep(stage: Stage) -> WorkflowRun:
    run = begin(stage)
    stage.deliver(RUN_ID)
    return run


def test_pending(stage: Stage) -> None:
    begin(stage)
    stage.pass_time(12)
    assert said() == "Waiting for its first delivery since 12 s; a relay sends it next."
    stage.pass_time(300)
    assert said() == (
        "Waiting for its first delivery since 5 min 12 s; overdue, and no relay has taken it: is hookflow_relay running?"
    )


def test_a_message_that_was_sent_and_has_not_come(stage: Stage) -> None:
    run = begin(stage)
    ask(
        "UPDATE django_hookflow_outbox SET attempts = 1, send_at = due_at + interval '300 s' WHERE run_uid = %s", run.pk
    )
    stage.pass_time(12)
    assert said() == "Waiting for its first delivery since 12 s; if none comes, a relay sends it again in 4 min 48 s."
    stage.pass_time(289)
    assert said() == (
        "Waiting for its first delivery since 5 min 1 s; overdue, sent 1 time so far, and no relay has taken it: "
        "is hookflow_relay running?"
    )
    ask(
        "UPDATE django_hookflow_outbox SET attempts = 2, send_at = send_at + interval '300 s' WHERE run_uid = %s",
        run.pk,
    )
    assert said() == "Waiting for its first delivery since 5 min 1 s; overdue, a relay sends it again in 4 min 59 s."


def test_running(stage: Stage) -> None:
    heard = listen(stage)
    begin(stage)
    stage.deliver(RUN_ID)
    assert heard == [
        "Running its first step on worker web-1:42, lease for another 1 min.",
        "Running what comes after step validate on worker web-1:42, lease for another 1 min.",
    ]


def test_running_another_attempt(stage: Stage) -> None:
    shop.troubles.append(UNREACHABLE)
    fall_asleep(stage)
    assert said() == "Failed at charge, attempt 1; tries again in 5 s."
    stage.pass_time(5)
    assert said() == "Waiting for a delivery since 0 s; a relay sends it next."
    heard = listen(stage)
    stage.deliver(RUN_ID)
    assert heard == ["Running step charge (attempt 2) on worker web-1:42, lease for another 1 min."]


def test_a_worker_that_is_not_heard_of(stage: Stage) -> None:
    run = begin(stage)
    claim(RUN_ID, 1, workflow_id=run.workflow_id)
    stage.pass_time(72)
    assert said() == (
        "Running its first step on worker worker, not heard of since its lease ran out 12 s ago; "
        "the next delivery takes the run over."
    )


def test_sleeping(stage: Stage) -> None:
    fall_asleep(stage)
    stage.pass_time(559)
    assert said() == "Sleeping in wait-for-payment, wakes in 41 s."
    stage.pass_time(101)
    assert said() == "Waiting for a delivery since 1 min; a relay sends it next."


def test_a_share_that_is_done(stage: Stage, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    fall_asleep(stage)
    stage.pass_time(3)
    assert said() == "Waiting for a delivery since 3 s; a relay sends it next."


def test_completed(stage: Stage) -> None:
    shop.troubles.append(UNREACHABLE)
    begin(stage)
    stage.drive(RUN_ID)
    assert said() == "Completed in 10 min 12 s, 4 steps, 1 retry."


def test_failed_and_what_becomes_of_it(stage: Stage) -> None:
    shop.troubles.extend([UNREACHABLE] * 4)
    begin(stage)
    stage.drive(RUN_ID)
    assert said() == "Failed at charge, attempt 3 of 3, in the dead letters."
    entry = DeadLetterEntry.objects.get()
    again = entry.replay(from_start=True, actor="ada")
    assert said() == f"Failed at charge, attempt 3 of 3, started again as run {again}."
    OutboxMessage.objects.all().delete()
    assert said_as_of(9) == "Failed at charge, attempt 3 of 3, in the dead letters."


def test_replayed(stage: Stage) -> None:
    shop.troubles.append(ValueError("no such card"))
    begin(stage)
    stage.drive(RUN_ID)
    assert said() == "Failed at charge, attempt 1 of 1, in the dead letters."
    DeadLetterEntry.objects.get().replay(actor="ada", reason="new card")
    stage.pass_time(2)
    assert said() == "Waiting for a delivery since 2 s; a relay sends it next."
    stage.deliver(RUN_ID)
    assert said() == "Sleeping in wait-for-payment, wakes in 10 min."


def test_failed_between_steps(stage: Stage) -> None:
    shop.troubles.extend([UNREACHABLE] * 2)
    begin(stage, shop.between)
    stage.deliver(RUN_ID)
    assert said() == "Failed between steps, attempt 1; tries again in 5 s."
    stage.drive(RUN_ID)
    assert said() == "Failed, attempt 2 of 2, in the dead letters."


def test_an_error_that_is_redacted_and_a_dead_letter_that_is_removed(stage: Stage) -> None:
    shop.troubles.append(ValueError("no such card"))
    run = begin(stage)
    stage.drive(RUN_ID)
    run.redact(reason="asked to", actor="ada")
    assert said() == "Failed at charge, attempt 1 of 1, its error is redacted, in the dead letters."
    ask(
        "SELECT hookflow_append(%s, NULL, ARRAY['dead_letter.removed'], ARRAY[NULL::text], "
        "ARRAY[json_build_object('failed_seq', %s::integer)], NULL)",
        *(run.pk, DeadLetterEntry.objects.get().seq),
    )
    assert said() == "Failed at charge, attempt 1 of 1, its error is redacted, its dead letter has been removed."


def test_in_doubt(stage: Stage) -> None:
    begin(stage, shop.asking)
    stage.hookflow.crash("charge")
    assert stage.deliver(RUN_ID) == "crashed"
    assert said() == "Running step charge (attempt 1) on worker web-1:42, lease for another 58 s."
    stage.pass_time(61)
    stage.deliver(RUN_ID)
    assert said() == (
        "In doubt about charge: it had begun, and nobody knows what came of it; resolve it to have the run go on."
    )
    WorkflowRun.objects.get(run_id=RUN_ID).resolve("charge", result="ch_1", actor="ada", reason="asked the bank")
    assert said() == "Waiting for a delivery since 0 s; a relay sends it next."
    stage.deliver(RUN_ID)
    assert said() == "Completed in 1 min 3 s, 2 steps."


def test_diverged(stage: Stage) -> None:
    fall_asleep(stage)
    shop.renamed["validate"] = "check"
    stage.deliver(RUN_ID)
    assert said() == (
        "Diverged: the code asks for check where validate is recorded; put the code right and resume, or rewind."
    )


def test_paused_resumed_and_cancelled(stage: Stage) -> None:
    run = fall_asleep(stage)
    stage.pass_time(10)
    run.pause(actor="ada", reason="the warehouse is closed")
    assert said() == "Paused by ada: the warehouse is closed; goes on when it is resumed."
    run.resume(actor="ada")
    assert said() == "Sleeping in wait-for-payment, wakes in 9 min 50 s."
    run.cancel(actor="ada", reason="customer called")
    assert said() == "Cancelled by ada: customer called."


def test_an_operator_speaks_while_a_step_is_under_way(stage: Stage) -> None:
    heard: list[str] = []

    def work(seconds: float) -> None:
        run = WorkflowRun.objects.get(run_id=RUN_ID)
        run.pause(actor="ada")
        heard.append(said())
        run.cancel()
        heard.append(said())
        stage.work(seconds)

    shop.work = work
    begin(stage)
    stage.deliver(RUN_ID)
    assert heard == [
        "Paused by ada; worker web-1:42 finishes the step it is in; goes on when it is resumed.",
        "Cancelled; worker web-1:42 finishes the step it is in.",
    ]
    assert said() == "Cancelled."


def test_a_run_with_a_timeout(stage: Stage) -> None:
    run = fall_asleep(stage)
    ask(
        "INSERT INTO django_hookflow_outbox (run_uid, seq, kind, due_at, send_at) "
        "SELECT %s, 0, 'timeout', hookflow_now() + interval '1 h', hookflow_now() + interval '1 h'",
        run.pk,
    )
    assert said() == "Sleeping in wait-for-payment, wakes in 10 min; its time is up in 1 h."


def test_the_past_is_told_as_of_its_own_time(stage: Stage) -> None:
    begin(stage)
    stage.drive(RUN_ID)
    assert [said_as_of(seq) for seq in (1, 2, 3, 5, 9)] == [
        "Waiting for its first delivery since 0 s.",
        "Running its first step on worker web-1:42.",
        "Running what comes after step validate on worker web-1:42.",
        "Sleeping in wait-for-payment, wakes in 10 min.",
        "Completed in 10 min 5 s, 4 steps.",
    ]
