"""What is the same on every replay: the time a workflow goes by, its random numbers and its UUIDs; and moments to sleep till."""

from __future__ import annotations

import datetime
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.events import log
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime.context import WorkflowContext as Context
from django_hookflow.runtime.execution import Execution
from django_hookflow.runtime.history import History
from django_hookflow.runtime.journal import HistoryJournal
from django_hookflow.runtime.steps import StepManager, first_options
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

UTC = datetime.timezone.utc
NAIVE = datetime.datetime(2030, 1, 1)  # noqa: DTZ001 which is what is refused
seen: list[list[Any]] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


@workflow(workflow_id="tests.deterministic.all")
def everything(ctx: WorkflowContext) -> Any:
    said: list[Any] = [ctx.now(), ctx.random.random(), ctx.uuid4()]
    seen.append(said)
    for number in range(3):
        ctx.step.run(f"step-{number}", lambda: None)
        said += [ctx.now(), ctx.random.randint(1, 1_000_000), ctx.uuid4()]
    ctx.step.sleep("sleep", timedelta(hours=1))
    said += [ctx.now(), ctx.random.choice(range(1000)), ctx.uuid4()]
    with pytest.raises(WorkflowError):
        ctx.step.run("fails", refuse)
    said.append(ctx.now())


def refuse() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("steps_per_turn", [None, 1])
def test_each_pass_sees_the_same(hookflow: Hookflow, settings: Any, steps_per_turn: int | None) -> None:
    settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = steps_per_turn
    assert hookflow.run(everything).status == "completed"
    assert len(seen) == (2 if steps_per_turn is None else 5)
    longest = seen[-1]
    assert all(longest[: len(said)] == said for said in seen)
    moments = [said for said in longest if isinstance(said, datetime.datetime)]
    assert moments == sorted(moments)
    assert len(set(moments)) == len(moments)
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    assert moments[4] - moments[3] >= timedelta(hours=1)
    assert len({said for said in longest if isinstance(said, uuid.UUID)}) == 5
    assert all(said.version == 4 for said in longest if isinstance(said, uuid.UUID))


def test_now_is_a_moment_of_the_log(hookflow: Hookflow) -> None:
    run = hookflow.run(everything)
    events = {event.seq: event for event in hookflow.events(run.run_id)}
    began = next(event for event in events.values() if event.type == "turn.started")
    ends = [e.recorded_at for e in events.values() if e.type in ("step.completed", "step.failed")]
    assert [said for said in seen[-1] if isinstance(said, datetime.datetime)] == [began.recorded_at, *ends]


def test_a_history_that_is_only_read_says_the_same(hookflow: Hookflow) -> None:
    run = hookflow.run(everything)
    rows = run.events.exclude(type__in=["turn.started", "run.completed"]).order_by("seq")
    names = "seq", "type", "step_id", "facts", "payload"
    events = [log.RecordedEvent(**_as_text(row)) for row in rows.values(*names)]
    journal = HistoryJournal(run.run_uid, events)
    execution = Execution(journal, History(events, journal.turn_seq))
    ctx = Context({}, run.run_id, run.workflow_id, StepManager(execution, first_options(None)), execution)
    everything(ctx)
    assert seen[-1] == seen[-2]


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    import json

    payload = None if row["payload"] is None else json.dumps(row["payload"])
    return {**row, "facts": json.dumps(row["facts"]), "payload": payload}


def test_it_is_the_same_where_django_knows_no_time_zones(hookflow: Hookflow, settings: Any) -> None:
    settings.USE_TZ = False
    connection.close()
    try:
        assert hookflow.run(everything).status == "completed"
    finally:
        settings.USE_TZ = True
        connection.close()
    assert {moment.utcoffset() for moment in seen[-1] if isinstance(moment, datetime.datetime)} == {timedelta(0)}


def test_two_runs_draw_different_numbers(hookflow: Hookflow) -> None:
    hookflow.run(everything)
    first = seen[-1]
    hookflow.run(everything)
    assert not {first[1], first[2]} & {seen[-1][1], seen[-1][2]}


def test_a_uuid_more_leaves_the_numbers_alone(hookflow: Hookflow) -> None:
    drawn: list[float] = []

    @workflow(workflow_id="tests.deterministic.more")
    def more(ctx: WorkflowContext) -> None:
        for _ in range(len(drawn)):
            ctx.uuid4()
        drawn.append(ctx.random.random())
        ctx.step.sleep("sleep", 1)

    assert hookflow.run(more).status == "completed"
    assert drawn == [drawn[0]] * 2


@pytest.mark.parametrize("name", ["random", "uuid4()"])
def test_a_step_does_not_draw(hookflow: Hookflow, name: str) -> None:
    @workflow(workflow_id="tests.deterministic.inside", retry=Retry(max_attempts=1))
    def inside(ctx: WorkflowContext) -> None:
        numbers = ctx.random
        ctx.step.run("draw", lambda: numbers.shuffle([1, 2]) if name == "random" else ctx.uuid4())

    run = hookflow.run(inside)
    assert run.status == "failed"
    assert f"ctx.{name} was called inside step 'draw': call it from the workflow itself" in run.error_message


def sleeper(moment: Any) -> Any:
    @workflow(workflow_id="tests.deterministic.until", retry=Retry(max_attempts=1))
    def until(ctx: WorkflowContext) -> None:
        ctx.step.sleep_until("until", moment(ctx) if callable(moment) else moment)

    return until


def test_a_moment_is_kept_exactly(hookflow: Hookflow) -> None:
    moment = timezone.now().astimezone(datetime.timezone(timedelta(hours=5, minutes=30))) + timedelta(days=3)
    run_id = sleeper(moment).trigger()
    assert hookflow.deliver(run_id).answer == "suspended"
    run = WorkflowRun.objects.get(run_id=run_id)
    assert run.wake_at == moment
    assert hookflow.deliver(run_id).answer == "early"
    run = hookflow.drive(run_id)
    (slept,) = [event for event in hookflow.events(run_id) if event.type == "step.completed"]
    assert run.status == "completed"
    assert slept.recorded_at >= moment


@pytest.mark.parametrize(
    "moment",
    [datetime.datetime(1, 1, 2, tzinfo=UTC), datetime.datetime(999, 5, 4, tzinfo=UTC), lambda ctx: ctx.now()],
)
def test_a_moment_in_the_past_is_over_at_once_and_recorded(hookflow: Hookflow, moment: Any) -> None:
    run_id = sleeper(moment).trigger()
    hookflow.deliver(run_id)
    assert hookflow.deliver(run_id).answer == "completed"
    assert [e.type for e in hookflow.events(run_id) if e.step_id] == ["step.suspended", "step.completed"]


@pytest.mark.parametrize(
    ("moment", "problem"),
    [
        (NAIVE, "has no time zone: use ctx.now(), "),
        (datetime.datetime(9999, 12, 31, tzinfo=UTC), "is more than a hundred years in the future"),
        (datetime.datetime.max.replace(tzinfo=datetime.timezone(-timedelta(hours=9))), "or cannot be converted to UTC"),
        (datetime.date(2030, 1, 1), "the moment must be a datetime with a time zone, not datetime.date(2030, 1, 1)"),
        ("2030-01-01", "the moment must be a datetime with a time zone, not '2030-01-01'"),
        (None, "the moment must be a datetime with a time zone, not None"),
    ],
)
def test_what_is_no_moment_is_refused(hookflow: Hookflow, moment: Any, problem: str) -> None:
    run = hookflow.run(sleeper(moment))
    assert run.status == "failed"
    assert "step 'until': " in run.error_message
    assert problem in run.error_message


def test_durations_may_be_timedeltas(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.deterministic.spans", timeout=timedelta(days=2))
    def spans(ctx: WorkflowContext) -> Any:
        retry = Retry(max_attempts=2, first_delay=timedelta(seconds=3), max_delay=timedelta(seconds=2), jitter=0)
        options = ctx.step.options(timeout=timedelta(minutes=1), retry=retry)
        try:
            options.run("fails", fail_softly)
        except WorkflowError:
            return ctx.step.wait_for_signal("never", timeout=timedelta(hours=1), default="nobody")

    run = hookflow.run(spans)
    assert run.result == "nobody"
    events = hookflow.events(run.run_id)
    assert events[0].facts["timeout"] == 172_800
    assert [e.facts["seconds"] for e in events if e.type == "step.suspended"] == [2.0, 3600.0]


def fail_softly() -> None:
    raise ConnectionError("again")


@pytest.mark.parametrize("seconds", [timedelta(seconds=-1), timedelta.max, 10**400])
def test_a_duration_out_of_range_is_refused(hookflow: Hookflow, seconds: Any) -> None:
    @workflow(workflow_id="tests.deterministic.range", retry=Retry(max_attempts=1))
    def ranged(ctx: WorkflowContext) -> None:
        ctx.step.sleep("sleep", seconds)

    assert "step 'sleep': seconds must be" in hookflow.run(ranged).error_message
