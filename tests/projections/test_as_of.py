"""What was known then: a run, and all runs, as of an event or a moment."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone
from hypothesis import given, settings

from django_hookflow.models import DeadLetterEntry, StepExecution, Wait, WorkflowRun
from django_hookflow.projections import NothingToFold
from django_hookflow.projections.as_of import NotTriggeredYet
from tests.log.calls import Event, append, ask, log_of, sleep, start, step
from tests.projections.histories import batches

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.django_db

FAILURE: Event = (
    "run.failed",
    "ship",
    {"message": "no stock", "traceback": "Traceback …"},
    {"error": "E", "attempts": 3},
)


def fields(row: Any, like: Any) -> dict[str, Any]:
    """What a projected row and what was folded for the past have in common."""
    return {name: getattr(row, name) for name in like.__dataclass_fields__ if hasattr(row, name)}


def a_run(run_id: str = "order-1", data: Any = None) -> WorkflowRun:
    uid = start(run_id, data or {"total": 12})["run_uid"]
    append(uid, 1, ("turn.started", None, None), step("charge", {"paid": True}))
    append(uid, 3, FAILURE)
    replayed: Event = ("run.replayed", None, None, {"failed_seq": 4})
    append(uid, 4, replayed, step("ship", "sent"), ("run.completed", None, {"result": 1}))
    return WorkflowRun.objects.get(id=uid)


def test_a_run_is_shown_as_each_of_its_events_left_it() -> None:
    run = a_run()
    assert [run.as_of(seq).status for seq in range(1, 8)] == [
        *("pending", "running", "running", "failed", "running", "running", "completed")
    ]
    then = run.as_of(4)
    assert (then.seq, then.run_id, then.data, then.result) == (4, "order-1", {"total": 12}, None)
    assert (then.error_type, then.error_message) == ("E", "no stock")
    assert [(s.step_id, s.result) for s in then.step_executions] == [("charge", {"paid": True})]
    assert [(d.step_id, d.is_replayed, d.error_traceback) for d in then.dead_letters] == [
        ("ship", False, "Traceback …")
    ]
    now = run.as_of(7)
    assert [s.step_id for s in now.step_executions] == ["charge", "ship"]
    assert [d.is_replayed for d in now.dead_letters] == [True]


@settings(max_examples=60, deadline=None)
@given(appends=batches)
def test_as_of_the_last_event_everything_is_as_it_stands(appends: list[list[Event]]) -> None:
    uid = start(data={"x": [1]})["run_uid"]
    seq = 1
    for events in appends:
        seq = append(uid, None, *events)
    run = WorkflowRun.objects.get(id=uid)
    then = run.as_of(seq)
    assert {k: v for k, v in dataclasses.asdict(then).items() if k not in ("seq", "parent_uid")} == fields(run, then)
    assert then.parent_uid == run.parent_id
    steps = StepExecution.objects.filter(workflow_run=run).order_by("seq")
    assert [dataclasses.asdict(s) for s in then.step_executions] == [fields(s, then.step_executions[0]) for s in steps]
    waits = Wait.objects.filter(run_id=uid).order_by("since_seq")
    assert [dataclasses.asdict(w) for w in then.waits] == [fields(w, then.waits[0]) for w in waits]
    dead = DeadLetterEntry.objects.filter(run_uid=uid).order_by("seq")
    assert [dataclasses.asdict(d) for d in then.dead_letters] == [fields(d, then.dead_letters[0]) for d in dead]


def test_what_a_run_waited_for_then_is_shown() -> None:
    uid = start(timeout=3600)["run_uid"]
    append(uid, 1, sleep("nap", 60), step("nap"), ("run.paused", None, None))
    run = WorkflowRun.objects.get(id=uid)
    kinds = [[(wait.step_id, wait.kind) for wait in run.as_of(seq).waits] for seq in range(1, 5)]
    deadline = ("", "deadline")
    assert kinds == [[deadline], [deadline, ("nap", "sleep")], [deadline], [deadline, ("", "hold")]]
    assert run.as_of(2).wake_at == run.as_of(2).waits[1].due_at
    assert [run.as_of(seq).wake_at for seq in (1, 3, 4)] == [None] * 3


def test_a_moment_means_the_events_recorded_up_to_it() -> None:
    run = a_run()
    at = {event["seq"]: event["recorded_at"] for event in log_of(run.run_uid)}
    assert run.as_of(at[4]).seq == max(seq for seq, moment in at.items() if moment <= at[4])
    assert run.as_of(timezone.now() + datetime.timedelta(days=1)).seq == 7
    with pytest.raises(NotTriggeredYet, match="run 'order-1' had not been triggered as of 2"):
        run.as_of(at[1] - datetime.timedelta(microseconds=1))


def test_what_makes_no_sense_is_refused() -> None:
    run = a_run()
    with pytest.raises(ValueError, match="run 'order-1' has 7 events, not 8"):
        run.as_of(8)
    with pytest.raises(NotTriggeredYet, match="as of #0"):
        run.as_of(0)
    with pytest.raises(ValueError, match="has no time zone"):
        run.as_of(datetime.datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="has no time zone"):
        WorkflowRun.objects.as_of(datetime.datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_run_whose_events_are_archived_cannot_be_shown() -> None:
    run = a_run()
    ask("UPDATE django_hookflow_head SET archived_at = now() WHERE run_uid = %s", run.run_uid)
    ask("DELETE FROM django_hookflow_event WHERE run_uid = %s", run.run_uid)
    with pytest.raises(NothingToFold, match="archived"):
        run.as_of(1)


def moment_between(uid_before: UUID, uid_after: UUID) -> datetime.datetime:
    (row,) = ask(
        "SELECT last_at FROM django_hookflow_head WHERE run_uid = %s AND last_at < "
        "(SELECT min(recorded_at) FROM django_hookflow_event WHERE run_uid = %s)",
        *(uid_before, uid_after),
    )
    moment: datetime.datetime = row["last_at"]
    return moment


def test_lists_and_counts_are_of_what_was_known_then() -> None:
    first = a_run("order-1")
    waiting = WorkflowRun.objects.get(id=start("order-2", {"total": 3})["run_uid"])
    later = start("order-3")["run_uid"]
    then = WorkflowRun.objects.as_of(moment_between(waiting.run_uid, later))
    append(waiting.run_uid, 1, ("turn.started", None, None), ("run.completed", None, {"result": None}))
    assert [(run.run_id, run.status, run.seq) for run in then] == [
        ("order-2", "pending", 1),
        ("order-1", "completed", 7),
    ]
    assert (then.count(), len(then), then.count_by_status()) == (2, 2, {"pending": 1, "completed": 1})
    assert [run.run_id for run in then.filter(status="completed")] == ["order-1"]
    assert then.filter(workflow_id="shop.order", run_id="order-2").count() == 1
    assert [run.run_id for run in then[1:5]] == ["order-1"]
    assert [s.step_id for s in then[1:][0].step_executions] == ["charge", "ship"]
    assert WorkflowRun.objects.as_of(first.created_at - datetime.timedelta(seconds=1)).count() == 0
    now = WorkflowRun.objects.as_of(timezone.now() + datetime.timedelta(days=1))
    assert sorted(run.run_id for run in now) == sorted(WorkflowRun.objects.values_list("run_id", flat=True))


def test_only_slices_that_count_from_the_newest_can_be_taken() -> None:
    runs: Any = WorkflowRun.objects.as_of(timezone.now())
    for part in (slice(-1, None), slice(0, 4, 2), 3):
        with pytest.raises(TypeError, match="does not support negative indexes or steps"):
            runs[part]
