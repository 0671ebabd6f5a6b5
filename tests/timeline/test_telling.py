"""Whatever the events are, a story can be told of them, and every stretch of the run's life is told once."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from django_hookflow.timeline import Present, Story, tell
from django_hookflow.timeline.reading import ToldEvent
from django_hookflow.timeline.scale import Scale
from tests.projections.histories import Event, batches, step_ids, values

if TYPE_CHECKING:
    from collections.abc import Iterable

T0 = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)
TRIGGERED: Event = ("run.triggered", None, {"run_id": "order-1", "data": {}})
#: Types that the log's own histories do not draw, and payloads of any shape.
odd_events = st.tuples(
    st.sampled_from(["step.intended", "run.woken", "turn.abandoned", "sleep.started", "step.failed", "run.diverged"]),
    st.none() | step_ids,
    st.none() | values | st.dictionaries(st.sampled_from(["attempt", "retry_in", "seconds", "error", "kind"]), values),
)
histories = st.lists(
    batches.map(lambda lists: [event for events in lists for event in events]) | st.lists(odd_events, max_size=8),
    max_size=3,
).map(lambda parts: [TRIGGERED, *(event for part in parts for event in part)])
pauses = st.sampled_from([0.0, 0.0, 0.5, 3.0, 3600.0, 10.0**7])


def at(seconds: float) -> datetime.datetime:
    return T0 + datetime.timedelta(seconds=seconds)


def events_at(*timed: tuple[float, str, str | None, Any], actor: str | None = None) -> list[ToldEvent]:
    """Events, each with when it was recorded in seconds after the first."""
    return [
        ToldEvent(seq, type_, step_id, actor if type_.startswith("run.") else None, at(seconds), False, payload)
        for seq, (seconds, type_, step_id, payload) in enumerate(timed, start=1)
    ]


def check(story: Story, now: datetime.datetime) -> None:
    """No gap and no overlap in a life; none in a row; nothing before the trigger."""
    assert story.start is not None
    assert story.life[0].start == story.start
    for before, after in zip(story.life, story.life[1:], strict=False):
        assert before.end == after.start
    assert all(segment.end is None or segment.end >= segment.start for segment in story.life)
    assert story.life[-1].end == story.end
    told = sum(segment.seconds(now) for segment in story.life)
    assert abs(told - story.seconds(now)) < 0.001
    for row in story.rows:
        assert all(segment.end is not None for segment in row.segments[:-1])
        for first, second in zip(row.segments, row.segments[1:], strict=False):
            assert first.start <= (first.end or now) <= second.start
        assert all(segment.start >= story.start for segment in row.segments)
    for turn in story.turns:
        assert turn.end is None or turn.start <= turn.end
    assert all(turn.end is not None for turn in story.turns[:-1])
    assert [segment for segment in story.waits if segment not in story.life] == []


@settings(max_examples=150, deadline=None)
@given(history=histories, data=st.data())
def test_any_history_has_a_story(history: list[Event], data: st.DataObject) -> None:
    events, seconds = [], 0.0
    for seq, (type_, step_id, payload) in enumerate(history, start=1):
        seconds += data.draw(pauses) if seq > 1 else 0.0
        actor = data.draw(st.sampled_from([None, None, "ada"]))
        events.append(ToldEvent(seq, type_, step_id, actor, at(seconds), False, payload))
    now = at(seconds + data.draw(pauses))
    for length in range(1, len(events) + 1):
        check(tell(events[:length]), now)
    leased = data.draw(st.booleans())
    present = Present(
        now=now, kind="turn", seq=len(events), due_at=now, expires_at=now + datetime.timedelta(1) if leased else None
    )
    story = tell(events, present)
    check(story, now)
    for scale in (Scale(story, now), Scale(story, now, linear=True)):
        places = [scale.at(segment.start) for segment in story.life]
        assert places == sorted(places)
        assert all(0 <= place <= 1 for place in places)


def lines(story: Story, which: Iterable[Any]) -> list[tuple[str, float, float | None]]:
    """Segments as (kind, from, to) in seconds after the trigger."""
    assert story.start is not None
    start = story.start
    return [
        (s.kind, (s.start - start).total_seconds(), (s.end - start).total_seconds() if s.end else None) for s in which
    ]


def test_a_retry_a_sleep_and_the_waits_between() -> None:
    story = tell(
        events_at(
            (0, "run.triggered", None, {}),
            (1, "turn.started", None, {"worker": "w"}),
            (3, "step.completed", "validate", {"kind": "run", "attempt": 1}),
            (4, "step.failed", "charge", {"kind": "call", "attempt": 1, "error": {"type": "E"}, "retry_in": 10}),
            (15, "turn.started", None, {}),
            (16, "step.completed", "charge", {"kind": "call", "attempt": 2}),
            (17, "sleep.started", "nap", {"seconds": 60}),
            (80, "turn.started", None, {}),
            (82, "step.completed", "nap", {"kind": "sleep", "attempt": 1}),
            (82, "step.completed", "ship", {"kind": "run", "attempt": 1}),
            (83, "run.completed", None, {"result": None}),
        )
    )
    check(story, at(90))
    assert lines(story, story.life) == [
        ("waiting", 0, 1),
        ("running", 1, 4),
        ("backoff", 4, 14),
        ("waiting", 14, 15),
        ("running", 15, 17),
        ("sleeping", 17, 77),
        ("waiting", 77, 80),
        ("running", 80, 83),
    ]
    assert {row.step_id: lines(story, row.segments) for row in story.rows} == {
        "validate": [("running", 1, 3)],
        "charge": [("running", 3, 4), ("backoff", 4, 14), ("running", 15, 16)],
        "nap": [("sleeping", 17, 77)],
        "ship": [("running", 80, 82)],
    }
    assert [(row.kind, row.state, row.attempts) for row in story.rows] == [
        ("run", "completed", 1),
        ("call", "completed", 2),
        ("sleep", "completed", 1),
        ("run", "completed", 1),
    ]
    assert (story.steps, story.retries, story.failure) == (4, 1, None)
    assert [turn.outcome for turn in story.turns] == ["backs off", "sleeps", "completed"]


def test_a_turn_whose_share_is_done_ends_with_its_last_step() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (1, "turn.started", None, {}),
        (2, "step.completed", "a", {"kind": "run", "attempt": 1}),
        (9, "turn.started", None, {}),
        (11, "step.completed", "b", {"kind": "run", "attempt": 1}),
    )
    story = tell(history)
    assert lines(story, story.life) == [("waiting", 0, 1), ("running", 1, 2), ("waiting", 2, 9), ("running", 9, None)]
    assert lines(story, story.row("b").segments if story.row("b") else []) == [("running", 9, 11)]  # type: ignore[union-attr]
    told = tell(history, Present(now=at(20), kind="turn", seq=5, due_at=at(11)))
    assert lines(told, told.life)[-2:] == [("running", 9, 11), ("waiting", 11, None)]
    assert told.turn is None


def test_a_lost_worker_is_lost_from_the_last_it_was_heard_of() -> None:
    story = tell(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (2, "step.completed", "a", {"kind": "run", "attempt": 1}),
            (3, "step.intended", "charge", {"kind": "call", "attempt": 1}),
            (60, "turn.abandoned", None, {"turn_seq": 2}),
            (60, "turn.started", None, {}),
            (62, "step.doubted", "charge", {"kind": "call", "attempt": 2}),
            (90, "step.resolved", "charge", {"reason": "asked the bank"}),
            (90, "step.completed", "charge", {"kind": "call", "attempt": 2, "resolved": True}),
        )
    )
    check(story, at(90))
    assert lines(story, story.life) == [
        ("waiting", 0, 0),
        ("running", 0, 2),
        ("lost", 2, 60),
        ("waiting", 60, 60),
        ("running", 60, 62),
        ("stopped", 62, 90),
        ("waiting", 90, None),
    ]
    row = story.row("charge")
    assert row is not None
    assert lines(story, row.segments) == [("lost", 2, 60)]
    assert (row.state, row.resolved, row.attempts) == ("completed", True, 2)


def test_an_operator_cuts_a_sleep_short_and_a_rewind_supersedes() -> None:
    story = tell(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (1, "step.completed", "a", {"kind": "run", "attempt": 1}),
            (1, "sleep.started", "nap", {"seconds": 600}),
            (11, "run.paused", None, {"reason": "look"}),
            (21, "run.resumed", None, {"reason": "", "seconds": 580}),
            (31, "run.rewound", "a", {"reason": "again"}),
            (31, "step.superseded", "a", None),
            (31, "step.superseded", "nap", None),
            (32, "turn.started", None, {}),
            (33, "step.completed", "a", {"kind": "run", "attempt": 1}),
            actor="ada",
        )
    )
    check(story, at(40))
    assert [(row.step_id, row.superseded, lines(story, row.segments)) for row in story.rows] == [
        ("a", True, [("running", 0, 1)]),
        ("nap", True, [("sleeping", 1, 11), ("sleeping", 21, 31)]),
        ("a", False, [("running", 32, 33)]),
    ]
    assert [segment.kind for segment in story.life] == [
        *("waiting", "running", "sleeping", "held", "sleeping", "waiting", "running")
    ]
    assert [(mark.type, mark.actor, mark.reason) for mark in story.marks][1:] == [
        ("run.paused", "ada", "look"),
        ("run.resumed", "ada", ""),
        ("run.rewound", "ada", "again"),
    ]


def test_a_failed_run_stands_still_until_it_is_replayed() -> None:
    error = {"type": "E", "message": "no", "traceback": ""}
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (1, "step.failed", "charge", {"kind": "run", "attempt": 1, "error": error, "retry_in": None}),
        (1, "run.failed", "charge", {"error": error, "attempts": 1}),
        (51, "run.replayed", None, {"failed_seq": 4}),
        (51, "step.superseded", "charge", None),
        (52, "turn.started", None, {}),
        (53, "step.completed", "charge", {"kind": "run", "attempt": 1}),
        (53, "run.completed", None, {}),
    )
    failed = tell(history[:4])
    assert failed.failure is not None
    assert (failed.end, failed.failure.error, failed.failure.step_id) == (at(1), error, "charge")
    story = tell(history)
    check(story, at(60))
    assert lines(story, story.life)[2:] == [("stopped", 1, 51), ("waiting", 51, 52), ("running", 52, 53)]
    assert [(row.state, row.superseded) for row in story.rows] == [("failed", True), ("completed", False)]
    assert story.failure is None


def test_a_step_under_way_when_its_run_is_cancelled_is_told_to_its_end() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (1, "step.intended", "charge", {"kind": "call", "attempt": 1}),
        (2, "run.cancelled", None, {"reason": "customer called"}),
        (5, "step.completed", "charge", {"kind": "call", "attempt": 1}),
        actor="ada",
    )
    story = tell(history)
    assert lines(story, story.rows[0].segments) == [("running", 0, 5)]
    assert (story.end, story.life[-1].end, story.turns[-1].end) == (at(2), at(2), at(5))
    at_work = Present(now=at(3), owner="w", expires_at=at(60))
    assert lines(story, tell(history[:4], at_work).rows[0].segments) == [("running", 0, None)]
    assert lines(story, tell(history[:4], Present(now=at(90))).rows[0].segments) == [("lost", 0, 2)]


def test_an_attempt_that_must_be_under_way_is_told_before_it_is_recorded() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (1, "step.failed", "charge", {"kind": "run", "attempt": 1, "error": None, "retry_in": 2}),
        (4, "turn.started", None, {}),
    )
    story = tell(history)
    assert story.current is story.rows[0]
    assert (story.rows[0].state, story.rows[0].attempts) == ("running", 2)
    assert lines(story, story.rows[0].segments)[-1] == ("running", 4, None)


def test_redacted_events_are_told_without_what_they_held() -> None:
    types = ["run.triggered", "turn.started", "step.intended", "step.failed", "sleep.started", "turn.started"]
    story = tell(events_at(*((n, type_, "a" if "." in type_[4:] else None, None) for n, type_ in enumerate(types))))
    check(story, at(9))
    assert [row.step_id for row in story.rows] == ["a"]


def test_a_sleep_that_an_operator_ends() -> None:
    story = tell(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (1, "sleep.started", "nap", {"seconds": 600}),
            (11, "run.woken", None, {"reason": "paid early"}),
            (12, "turn.started", None, {}),
            (14, "step.completed", "nap", {"kind": "sleep", "attempt": 1}),
            (14, "step.completed", "ship", {"kind": "run", "attempt": 1}),
            actor="ada",
        )
    )
    check(story, at(20))
    assert lines(story, story.life)[2:] == [("sleeping", 1, 11), ("waiting", 11, 12), ("running", 12, None)]
    assert {row.step_id: lines(story, row.segments) for row in story.rows} == {
        "nap": [("sleeping", 1, 11)],
        "ship": [("running", 12, 14)],
    }
