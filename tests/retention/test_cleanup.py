"""``cleanup_workflows``: which runs go, which stay, and what is left of those that go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError

from django_hookflow import WorkflowContext, workflow
from django_hookflow.dlq import DeadLetterEntry
from django_hookflow.exceptions import ArchivedRun
from django_hookflow.models import StepExecution, Wait, WorkflowEvent, WorkflowRun
from tests.log.calls import append, ask, claim, head_of, session, start, step, types_of
from tests.projections.histories import FAILURE, TURN
from tests.retention.stage import (
    DAYS,
    archived,
    assert_nothing_differs,
    cleanup,
    contents,
    ended_of,
    make_run,
    make_runs,
    run_command,
    traces_of,
)

if TYPE_CHECKING:
    from django.test import Client

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

FLAGS = [[], ["--dlq-only"], ["--workflows-only"]]
NOTHING = {"WorkflowRun": 0, "WorkflowEvent": 0, "StepExecution": 0, "DeadLetterEntry": 0}


def test_what_ended_long_ago_goes_and_everything_else_stays_as_it_is(hookflow: Hookflow) -> None:
    old = make_runs(32)
    gone = ended_of(old)
    hookflow.advance(31 * DAYS)
    make_runs(16, "young")
    before = contents(without=tuple(gone.values()))
    assert cleanup() == {"WorkflowRun": 16, "WorkflowEvent": 92, "StepExecution": 16, "DeadLetterEntry": 12}
    assert contents(without=tuple(gone.values())) == before
    assert traces_of(*gone.values()) == 0
    assert archived() == set(gone)
    assert cleanup() == NOTHING
    assert_nothing_differs()


@pytest.mark.parametrize("flags", FLAGS)
def test_a_dry_run_removes_nothing_and_counts_the_same(hookflow: Hookflow, flags: list[str]) -> None:
    make_runs(40)
    hookflow.advance(31 * DAYS)
    make_runs(8, "young")
    before = contents()
    counted = cleanup("--dry-run", *flags)
    assert contents() == before
    assert counted == cleanup(*flags)
    assert sum(counted.values()) > 0
    assert cleanup("--dry-run", *flags) == NOTHING
    assert_nothing_differs()


@pytest.mark.parametrize(("days", "gone"), [(29, True), (30, True), (31, False)])
def test_the_age_of_a_run_counts_from_its_end_by_the_databases_clock(hookflow: Hookflow, days: int, gone: bool) -> None:
    uid = make_run("order-1", [TURN, step("a")])
    hookflow.advance(100 * DAYS)
    append(uid, None, ("run.completed", None, {"result": 1}), ends_turn=True)
    hookflow.advance(30 * DAYS + 60)
    assert cleanup("--days-old", str(days))["WorkflowRun"] == int(gone)


def test_a_replayed_run_lives_however_long_ago_it_failed(hookflow: Hookflow) -> None:
    uid = make_run("order-1", [TURN, step("a"), FAILURE])
    hookflow.advance(31 * DAYS)
    append(uid, None, ("run.replayed", None, {"reason": ""}, {"failed_seq": 4}))
    assert cleanup("--workflows-only") == NOTHING
    assert head_of(uid)["archived_at"] is None


def test_old_dead_letters_of_runs_that_stay_go_by_an_event_and_do_not_come_back(hookflow: Hookflow) -> None:
    uid = make_run("order-1", [TURN, FAILURE, ("run.replayed", None, {"reason": ""}, {"failed_seq": 3}), TURN])
    hookflow.advance(31 * DAYS)
    append(uid, None, FAILURE)
    assert cleanup()["DeadLetterEntry"] == 1
    assert types_of(uid)[-1] == "dead_letter.removed"
    event = WorkflowEvent.objects.filter(workflow_run=uid).order_by("-seq")[0]
    assert (event.facts, event.payload, event.actor) == ({"failed_seq": 3}, None, "cleanup_workflows")
    assert [entry.seq for entry in DeadLetterEntry.objects.filter(run_uid=uid)] == [6]
    run_command("hookflow_rebuild")
    assert DeadLetterEntry.objects.filter(run_uid=uid).count() == 1
    assert_nothing_differs()


def test_dlq_only_leaves_runs_and_workflows_only_leaves_dead_letters(hookflow: Hookflow) -> None:
    runs = make_runs(16)
    hookflow.advance(31 * DAYS)
    dead_letters = DeadLetterEntry.objects.count()
    assert cleanup("--dlq-only") == {**NOTHING, "DeadLetterEntry": dead_letters}
    assert (DeadLetterEntry.objects.count(), WorkflowRun.objects.count(), archived()) == (0, 16, set())
    assert cleanup("--workflows-only")["WorkflowRun"] == len(ended_of(runs))
    assert_nothing_differs()


def test_a_dead_letter_that_was_kept_can_be_read_and_not_replayed_and_goes_in_the_end(hookflow: Hookflow) -> None:
    make_run("order-1", [TURN, step("a"), FAILURE])
    hookflow.advance(31 * DAYS)
    assert cleanup("--workflows-only")["DeadLetterEntry"] == 0
    entry = DeadLetterEntry.objects.get()
    assert (entry.error_message, entry.completed_steps) == ("no", {})
    for from_start in (False, True):
        with pytest.raises(ArchivedRun, match="cannot replay run 'order-1': it has been archived"):
            entry.replay(from_start=from_start)
    (replayed,) = DeadLetterEntry.objects.all().replay()
    assert isinstance(replayed.error, ArchivedRun)
    assert_nothing_differs()
    assert cleanup() == {**NOTHING, "DeadLetterEntry": 1}
    assert not DeadLetterEntry.objects.exists()


def test_an_operator_with_an_old_page_open_is_shown_that_the_run_is_archived(hookflow: Hookflow) -> None:
    make_run("order-1", [TURN, ("run.completed", None, {"result": 1})])
    run = WorkflowRun.objects.get()
    hookflow.advance(31 * DAYS)
    cleanup()
    with pytest.raises(ArchivedRun, match="cannot rewind run 'order-1'"):
        run.rewind(to_step="a")
    with pytest.raises(ArchivedRun, match="cannot cancel run 'order-1'"):
        run.cancel()


def test_the_admin_shows_a_dead_letter_whose_run_is_gone(hookflow: Hookflow, admin_client: Client) -> None:
    make_run("order-1", [TURN, FAILURE])
    hookflow.advance(31 * DAYS)
    cleanup("--workflows-only")
    entry = DeadLetterEntry.objects.get()
    assert admin_client.get(f"/admin/django_hookflow/deadletterentry/{entry.pk}/change/").status_code == 200
    answer = admin_client.post(
        "/admin/django_hookflow/deadletterentry/",
        {"action": "replay_selected", "_selected_action": [str(entry.pk)]},
    )
    form = answer.context
    answer = admin_client.post(
        "/admin/django_hookflow/deadletterentry/",
        {
            "action": "replay_selected",
            "_selected_action": [str(entry.pk)],
            "confirmed": "1",
            "progress": form["progress"].dumps(),
            "scope": "selected",
            "reason": "again",
        },
    )
    assert "cannot replay run &#x27;order-1&#x27;: it has been archived" in answer.content.decode()


def test_a_message_that_comes_when_its_run_is_gone_is_answered_and_changes_nothing(hookflow: Hookflow) -> None:
    make_run("order-1", [TURN, ("run.completed", None, {"result": 1})])
    hookflow.advance(31 * DAYS)
    cleanup()
    before = contents()
    for seq in (1, 2, 99):
        assert claim("order-1", seq)[0]["answer"] == "stale"
    assert ask("SELECT hookflow_expire('shop.order', 'order-1') AS answer") == [{"answer": "stale"}]
    assert contents() == before


def test_the_id_of_a_run_that_is_gone_is_not_used_again(hookflow: Hookflow) -> None:
    """Scenario 18: an old run_id used again."""

    @workflow(workflow_id="tests.retention.once")
    def once(ctx: WorkflowContext) -> int:
        return 1

    hookflow.run(once, run_id="order-1")
    hookflow.advance(31 * DAYS)
    assert cleanup()["WorkflowRun"] == 1
    before = contents()
    for data in ({}, {"other": "data"}):
        with pytest.raises(ArchivedRun, match="run 'order-1' has been archived and its ID cannot be reused"):
            once.trigger(data, run_id="order-1")
    assert contents() == before
    assert hookflow.run(once, run_id="order-2").status == "completed"


def test_tombstones_are_left_alone_by_what_goes_through_the_log(hookflow: Hookflow) -> None:
    make_runs(16)
    hookflow.advance(31 * DAYS)
    cleanup()
    before = contents()
    run_command("hookflow_rebuild")
    run_command("hookflow_rebuild", "--check")
    run_command("hookflow_verify")
    assert contents() == before


def test_a_row_that_a_hand_has_changed_does_not_make_a_living_run_go(hookflow: Hookflow) -> None:
    uid = make_run("order-1", [TURN, step("a")])
    hookflow.advance(31 * DAYS)
    ask("UPDATE django_hookflow_workflowrun SET status = 'completed', completed_at = created_at")
    assert cleanup()["WorkflowRun"] == 0
    assert (head_of(uid)["archived_at"], types_of(uid)[-1]) == (None, "step.completed")


def test_a_run_that_somebody_holds_is_left_and_goes_the_next_time(hookflow: Hookflow) -> None:
    runs = ended_of(make_runs(16))
    held = runs["order-9"]
    hookflow.advance(31 * DAYS)
    with session() as other, other.transaction():
        other.execute("SELECT FROM django_hookflow_head WHERE run_uid = %s FOR NO KEY UPDATE", [held])
        printed = run_command("cleanup_workflows")
        assert "1 run skipped because of concurrent changes; the next cleanup will retry" in printed
        assert archived() == set(runs) - {"order-9"}
    assert cleanup()["WorkflowRun"] == 1
    assert archived() == set(runs)


def test_a_cancelled_run_whose_worker_is_still_at_its_last_step_is_left(hookflow: Hookflow) -> None:
    uid = make_run("order-1", [TURN, ("run.cancelled", None, {"reason": "x"})])
    ask(
        "INSERT INTO django_hookflow_lease (run_uid, token, owner, renewed_at, expires_at)"
        " VALUES (%s, 2, 'w', hookflow_now(), hookflow_now() + interval '1 minute')",
        uid,
    )
    assert cleanup("--days-old", "0")["WorkflowRun"] == 0
    hookflow.advance(61)
    assert cleanup("--days-old", "0")["WorkflowRun"] == 1


def test_a_lease_from_a_time_to_come_holds_nothing(hookflow: Hookflow) -> None:
    """The database's clock has gone back since it was taken."""
    make_run("order-1", [TURN, ("run.cancelled", None, {"reason": "x"})])
    ask(
        "INSERT INTO django_hookflow_lease (run_uid, token, owner, renewed_at, expires_at) SELECT run_uid, 2, 'w',"
        " hookflow_now() + interval '1 day', hookflow_now() + interval '2 days' FROM django_hookflow_head"
    )
    assert cleanup("--days-old", "0")["WorkflowRun"] == 1


def test_the_database_refuses_to_retire_what_is_not_to_go(hookflow: Hookflow) -> None:
    """Whoever calls hookflow_retire, with whatever arguments."""
    runs = make_runs(8)
    hookflow.advance(31 * DAYS)
    fresh = make_run("young-1", [TURN, ("run.completed", None, {"result": 1})])

    def retire(uid: object, before: str, **changed: object) -> list[object]:
        known = {**ask("SELECT last_seq, head_hash FROM django_hookflow_head WHERE run_uid = %s", uid)[0], **changed}
        (row,) = ask(
            f"SELECT runs FROM hookflow_retire(ARRAY[%s]::uuid[], ARRAY[%s], ARRAY[%s::bytea], {before})",
            *(uid, known["last_seq"], known["head_hash"]),
        )
        return list(row["runs"])

    month = "hookflow_now() - interval '30 days'"
    ended, living = runs["order-1"], runs["order-2"]
    assert retire(living, "'infinity'") == []
    assert retire(fresh, month) == []
    assert retire(ended, month, last_seq=4) == []
    assert retire(ended, month, head_hash=bytes(32)) == []
    assert retire(ended, month) == [ended]
    assert retire(ended, month) == []


def test_a_run_retired_whose_events_are_kept_for_their_partition_is_shown_by_nothing(hookflow: Hookflow) -> None:
    uid = make_run("order-1", [TURN, step("a"), step("b"), FAILURE])
    assert traces_of(uid) > 0
    head = head_of(uid)
    (retired,) = ask(
        "SELECT * FROM hookflow_retire(ARRAY[%s], ARRAY[%s], ARRAY[%s::bytea], 'infinity', p_keeps_events => true)",
        *(uid, head["last_seq"], head["head_hash"]),
    )
    assert retired == {"runs": [uid], "events": 0, "steps": 2, "dead_letters": 1}
    assert types_of(uid)[-1] == "run.failed"
    for model in (WorkflowRun, StepExecution, Wait, DeadLetterEntry):
        assert not model.objects.exists(), model


def test_waits_that_a_run_still_had_go_with_it(hookflow: Hookflow) -> None:
    """A row that is not there in a projection that is right: a retired run leaves none behind, whoever wrote it."""
    uid = make_run("order-1", [TURN, ("run.cancelled", None, {"reason": "x"})])
    ask(
        "INSERT INTO django_hookflow_wait (id, run_uid, step_id, kind, since_seq) VALUES (1, %s, 'nap', 'sleep', 2)",
        uid,
    )
    hookflow.advance(31 * DAYS)
    assert cleanup()["WorkflowRun"] == 1
    assert not Wait.objects.exists()


@pytest.mark.parametrize(
    "arguments", [["--dlq-only", "--workflows-only"], ["--days-old", "-1"], ["--days-old", "x"], ["--days-old", "1.5"]]
)
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        cleanup(*arguments)


def test_a_directory_without_a_name_is_not_taken_for_no_archive(hookflow: Hookflow) -> None:
    """A cron line whose variable is not set: --archive-to "$ARCHIVES"."""
    make_runs(8)
    hookflow.advance(31 * DAYS)
    before = contents()
    with pytest.raises(CommandError, match="argument --archive-to: the directory name is empty"):
        cleanup("--archive-to", "")
    assert contents() == before


def test_nothing_is_older_than_the_calendar() -> None:
    make_runs(8)
    assert cleanup("--days-old", "99999999") == NOTHING


def test_appends_go_on_while_a_batch_is_being_retired(hookflow: Hookflow) -> None:
    runs = make_runs(24)
    hookflow.advance(31 * DAYS)
    gone = ended_of(runs)
    heads = [head_of(uid) for uid in gone.values()]
    known = [[head[column] for head in heads] for column in ("run_uid", "last_seq", "head_hash")]
    with session() as cleaner, cleaner.transaction(), session() as worker:
        found = ask(
            "SELECT runs FROM hookflow_retire(%s::uuid[], %s::integer[], %s::bytea[], hookflow_now())",
            *known,
            session=cleaner,
        )
        assert len(found[0]["runs"]) == len(gone)
        worker.execute("SET lock_timeout = '1ms'")  # waiting for the cleaner would be an error
        for uid in runs.values():
            if uid not in gone.values():
                append(uid, None, step("meanwhile"), session=worker)
        start("new", session=worker)
    assert archived() == set(gone)
    assert_nothing_differs()
