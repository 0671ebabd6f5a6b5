"""The sentence for a run in every status and in every way of waiting, made with the real engine on a clock of the test's own."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import QuerySet

from django_hookflow.durations import checked_moment
from django_hookflow.events import types
from django_hookflow.events.database import database_now
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun, WorkflowRunStatus
from django_hookflow.timeline import Present, events_of, present_of, sentence_for, story_of
from django_hookflow.timeline.sentence import BY_STATUS
from tests.log.calls import append, ask, claim, start
from tests.timeline import shop
from tests.timeline.frozen import worker_renamed

if TYPE_CHECKING:
    from tests.timeline.frozen import Stage

pytestmark = pytest.mark.django_db

RUN_ID = "order-1"
UNREACHABLE = ConnectionError("bank.example does not answer")


def sentence() -> str:
    """The sentence for the run as it is now."""
    run = WorkflowRun.objects.get(run_id=RUN_ID)
    present = present_of(run.run_uid)
    return worker_renamed(sentence_for(run, story_of(events_of(run.run_uid), present), present))


def sentence_as_of(seq: int) -> str:
    run = WorkflowRun.objects.get(run_id=RUN_ID)
    events = list(events_of(run.run_uid, seq))
    present = Present(now=events[-1].recorded_at)
    return worker_renamed(sentence_for(run.as_of(seq), story_of(events, present), present))


def during_steps(stage: Stage) -> list[str]:
    """The sentences while steps are at work, one after another."""
    sentences: list[str] = []

    def work(seconds: float) -> None:
        sentences.append(sentence())
        stage.work(seconds)

    shop.work = work
    return sentences


def begin(stage: Stage, workflow: Any = shop.order, **options: Any) -> WorkflowRun:
    return stage.trigger(workflow, RUN_ID, **options)


def fall_asleep(stage: Stage) -> WorkflowRun:
    run = begin(stage)
    stage.deliver(RUN_ID)
    return run


def test_pending(stage: Stage) -> None:
    begin(stage)
    stage.pass_time(12)
    assert sentence() == "Waiting for its first delivery for 12 s; a relay sends it next."
    stage.pass_time(300)
    assert sentence() == (
        "Waiting for its first delivery for 5 min 12 s; overdue, and no relay has taken it: is hookflow_relay running?"
    )


def test_a_message_that_was_sent_and_has_not_come(stage: Stage) -> None:
    run = begin(stage)
    ask(
        "UPDATE django_hookflow_outbox SET attempts = 1, send_at = announced_at + interval '300 s' WHERE run_uid = %s",
        run.pk,
    )
    stage.pass_time(12)
    assert sentence() == "Waiting for its first delivery for 12 s; if none comes, a relay sends it again in 4 min 48 s."
    stage.pass_time(289)
    assert sentence() == (
        "Waiting for its first delivery for 5 min 1 s; overdue, sent 1 time so far, and no relay has taken it: "
        "is hookflow_relay running?"
    )
    ask(
        "UPDATE django_hookflow_outbox SET attempts = 2, send_at = send_at + interval '300 s' WHERE run_uid = %s",
        run.pk,
    )
    assert sentence() == (
        "Waiting for its first delivery for 5 min 1 s; overdue, sent 2 times in vain (see the logs), "
        "a relay sends it again in 4 min 59 s."
    )


def test_running(stage: Stage) -> None:
    sentences = during_steps(stage)
    begin(stage)
    stage.deliver(RUN_ID)
    assert sentences == [
        "Running its first step on worker web-1:42, lease expires in 1 min.",
        "Running the code after step validate on worker web-1:42, lease expires in 1 min.",
    ]


def test_running_another_attempt(stage: Stage) -> None:
    shop.troubles.append(UNREACHABLE)
    fall_asleep(stage)
    assert sentence() == "Failed at charge, attempt 1 of 3; retries in 5 s."
    stage.pass_time(5)
    assert sentence() == "Waiting for a delivery for 0 s; a relay sends it next."
    sentences = during_steps(stage)
    stage.deliver(RUN_ID)
    assert sentences == ["Running step charge (attempt 2) on worker web-1:42, lease expires in 1 min."]


def test_a_worker_that_is_not_heard_of(stage: Stage) -> None:
    run = begin(stage)
    claim(RUN_ID, 1, workflow_id=run.workflow_id)
    stage.pass_time(72)
    assert sentence() == (
        "Running its first step on worker worker, no heartbeat since its lease expired 12 s ago; "
        "the next delivery takes over."
    )


def test_sleeping(stage: Stage) -> None:
    fall_asleep(stage)
    stage.pass_time(559)
    assert sentence() == "Sleeping in wait-for-payment, wakes in 41 s."
    stage.pass_time(101)
    assert sentence() == "Waiting for a delivery for 1 min; a relay sends it next."


def test_a_share_that_is_done(stage: Stage, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1
    fall_asleep(stage)
    stage.pass_time(3)
    assert sentence() == "Waiting for a delivery for 3 s; a relay sends it next."


def test_completed(stage: Stage) -> None:
    shop.troubles.append(UNREACHABLE)
    begin(stage)
    stage.drive(RUN_ID)
    assert sentence() == "Completed in 10 min 12 s, 4 steps, 1 retry."


def test_failed_and_what_becomes_of_it(stage: Stage) -> None:
    shop.troubles.extend([UNREACHABLE] * 4)
    begin(stage)
    stage.drive(RUN_ID)
    assert sentence() == "Failed at charge, attempt 3 of 3, in the dead letters."
    entry = DeadLetterEntry.objects.get()
    again = entry.replay(from_start=True, actor="ada")
    assert sentence() == f"Failed at charge, attempt 3 of 3, restarted as run {again}."
    QuerySet(OutboxMessage).delete()
    assert sentence_as_of(13) == "Failed at charge, attempt 3 of 3, in the dead letters."


def test_replayed(stage: Stage) -> None:
    shop.troubles.append(ValueError("no such card"))
    begin(stage)
    stage.drive(RUN_ID)
    assert sentence() == "Failed at charge, attempt 1 of 3, in the dead letters."
    DeadLetterEntry.objects.get().replay(actor="ada", reason="new card")
    stage.pass_time(2)
    assert sentence() == "Waiting for a delivery for 2 s; a relay sends it next."
    stage.deliver(RUN_ID)
    assert sentence() == "Sleeping in wait-for-payment, wakes in 10 min."


def test_failed_between_steps(stage: Stage) -> None:
    shop.troubles.extend([UNREACHABLE] * 2)
    begin(stage, shop.between)
    stage.deliver(RUN_ID)
    assert sentence() == "Failed between steps, attempt 1 of 2; retries in 5 s."
    stage.drive(RUN_ID)
    assert sentence() == "Failed after 2 attempts, in the dead letters."


def test_an_error_that_is_redacted_and_a_dead_letter_that_is_removed(stage: Stage) -> None:
    shop.troubles.append(ValueError("no such card"))
    run = begin(stage)
    stage.drive(RUN_ID)
    run.redact(reason="asked to", actor="ada")
    assert sentence() == "Failed at charge, attempt 1 of 3, its error is redacted, in the dead letters."
    append(run.pk, None, ("dead_letter.removed", None, None, {"failed_seq": DeadLetterEntry.objects.get().seq}))
    assert sentence() == "Failed at charge, attempt 1 of 3, its error is redacted, its dead letter has been removed."


def test_in_doubt(stage: Stage) -> None:
    begin(stage, shop.asking)
    stage.hookflow.crash("charge")
    assert stage.deliver(RUN_ID) == "crashed"
    assert sentence() == "Running step charge (attempt 1) on worker web-1:42, lease expires in 58 s."
    stage.pass_time(61)
    stage.deliver(RUN_ID)
    assert sentence() == (
        "In doubt about charge: it was started and may or may not have finished; resolve it to continue."
    )
    WorkflowRun.objects.get(run_id=RUN_ID).resolve("charge", result="ch_1", actor="ada", reason="asked the bank")
    assert sentence() == "Waiting for a delivery for 0 s; a relay sends it next."
    stage.deliver(RUN_ID)
    assert sentence() == "Completed in 1 min 3 s, 2 steps."


def test_diverged(stage: Stage) -> None:
    fall_asleep(stage)
    shop.renamed["validate"] = "check"
    stage.deliver(RUN_ID)
    assert sentence() == (
        "Diverged: the code asks for check where validate is recorded; fix the code and resume, or rewind."
    )


def test_paused_resumed_and_cancelled(stage: Stage) -> None:
    run = fall_asleep(stage)
    stage.pass_time(10)
    run.pause(actor="ada", reason="the warehouse is closed")
    assert sentence() == "Paused by ada: the warehouse is closed; continues when it is resumed."
    run.resume(actor="ada")
    assert sentence() == "Sleeping in wait-for-payment, wakes in 9 min 50 s."
    run.cancel(actor="ada", reason="customer called")
    assert sentence() == "Cancelled by ada: customer called."


def test_something_is_done_to_the_run_while_a_step_is_under_way(stage: Stage) -> None:
    sentences: list[str] = []

    def work(seconds: float) -> None:
        run = WorkflowRun.objects.get(run_id=RUN_ID)
        run.pause(actor="ada")
        sentences.append(sentence())
        run.cancel()
        sentences.append(sentence())
        stage.work(seconds)

    shop.work = work
    begin(stage)
    stage.deliver(RUN_ID)
    assert sentences == [
        "Paused by ada; worker web-1:42 is finishing its current step; continues when it is resumed.",
        "Cancelled; worker web-1:42 is finishing its current step.",
    ]
    assert sentence() == "Cancelled."


def test_a_run_with_a_timeout(stage: Stage) -> None:
    begin(stage, shop.urgent)
    stage.deliver(RUN_ID)
    assert sentence() == "Sleeping in wait-for-payment, wakes in 10 min; deadline in 4 min 58 s."
    WorkflowRun.objects.get(run_id=RUN_ID).pause(actor="ada")
    stage.pass_time(300)
    assert sentence() == "Paused by ada; continues when it is resumed; deadline passed 2 s ago."
    stage.deliver(RUN_ID)
    assert sentence() == "Failed at its deadline, in the dead letters."


def test_the_past_is_described_as_of_its_own_time(stage: Stage) -> None:
    begin(stage)
    stage.drive(RUN_ID)
    assert [sentence_as_of(seq) for seq in (1, 2, 3, 5, 9)] == [
        "Waiting for its first delivery for 0 s.",
        "Running its first step on worker web-1:42.",
        "Running the code after step validate on worker web-1:42.",
        "Sleeping in wait-for-payment, wakes in 10 min.",
        "Completed in 10 min 5 s, 4 steps.",
    ]


@pytest.mark.parametrize("status", [*WorkflowRunStatus.values, "a_status_of_tomorrow"])
def test_every_status_has_a_sentence(status: str) -> None:
    uid = start(RUN_ID)["run_uid"]
    QuerySet(WorkflowRun).filter(pk=uid).update(status=status)
    assert sentence()[0].isupper()
    assert sentence()[-1] in ".?"
    assert status in BY_STATUS or status == "a_status_of_tomorrow"


WAITS = {
    ("a", types.SLEEP): "Sleeping in a, wakes in 5 min.",
    ("a", types.BACKOFF): "Failed at a, attempt 2 of 4; retries in 5 min.",
    (
        "a",
        types.DOUBT,
    ): "In doubt about a: it was started and may or may not have finished; resolve it to continue.",
    ("a", "signal"): "Waiting in a for the signal approval, for at most 5 min more.",
    ("a", types.CHILD): "Waiting in a for run approval, for at most 5 min more.",
    ("a", "a_kind_of_tomorrow"): "Waiting in a for a kind of tomorrow, for at most 5 min more.",
    (None, types.BACKOFF): "Failed between steps, attempt 2 of 4; retries in 5 min.",
    (None, types.START): "Scheduled, starts in 5 min.",
    (None, types.HOLD): "Paused; continues when it is resumed.",
    (None, types.DIVERGENCE): "Diverged: the code no longer matches the recorded steps; fix it and resume.",
}


@pytest.mark.parametrize(("step_id", "kind"), WAITS)
def test_every_kind_of_wait_has_a_sentence(stage: Stage, step_id: str | None, kind: str) -> None:
    uid = start(RUN_ID)["run_uid"]
    failed = {"kind": "run", "attempt": 2, "of": 4, "took": 1, "retry_in": 300, "error": "E"}
    if kind == types.START:
        failed = {"until": checked_moment("test", database_now() + datetime.timedelta(seconds=300))}
    begins = {
        types.START: types.RUN_DELAYED,
        types.HOLD: types.RUN_PAUSED,
        types.DIVERGENCE: types.RUN_DIVERGED,
        types.BACKOFF: types.TURN_FAILED,
    }
    if step_id is None:
        append(uid, None, (begins[kind], None, None, failed))
    else:
        waits = {"kind": kind, "attempt": 2, "seconds": 300, "key": "approval"}
        append(uid, None, ("step.failed", step_id, None, failed), ("step.suspended", step_id, None, waits))
    assert sentence() == WAITS[step_id, kind]


def test_every_kind_of_wait_is_tested() -> None:
    kinds = {types.SLEEP, types.BACKOFF, types.DOUBT, types.HOLD, types.DIVERGENCE}
    begun = {each.waits_begun for each in types.CATALOGUE.values()} - {None, "kind", types.DEADLINE}
    assert kinds | begun <= {kind for _, kind in WAITS}
