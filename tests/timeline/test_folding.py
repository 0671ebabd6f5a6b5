"""Whatever the events are, there is a story of them, and every stretch of the run's life is in it once."""

from __future__ import annotations

import datetime
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.events.types import CATALOGUE
from django_hookflow.timeline import Present, Row, Segment, Story, events_of, story_of
from django_hookflow.timeline.reading import EventExcerpt
from django_hookflow.timeline.scale import Scale, busy_times
from tests.admin import history

if TYPE_CHECKING:
    from collections.abc import Iterable

T0 = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)

#: An event: when, in seconds after the first, its type, its step and its facts.
Timed = tuple[float, str, "str | None", Any]


def at(seconds: float) -> datetime.datetime:
    return T0 + datetime.timedelta(seconds=seconds)


def until(seconds: float) -> str:
    """A moment as the database writes it among the facts."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def events_at(*timed: Timed, actor: str | None = None) -> list[EventExcerpt]:
    return [
        EventExcerpt(seq, type_, step_id, actor if type_.startswith("run.") else None, at(seconds), False, facts)
        for seq, (seconds, type_, step_id, facts) in enumerate(timed, start=1)
    ]


def check(story: Story, now: datetime.datetime) -> None:
    """No gap and no overlap in a life, and nothing open in a row but its last segment."""
    assert story.start is not None
    assert [before.end for before in story.life[:-1]] == [after.start for after in story.life[1:]]
    assert all(segment.end is None or segment.end >= segment.start for segment in story.life)
    if story.life:
        assert (story.life[0].start, story.life[-1].end) == (story.start, story.end)
    else:
        assert story.end == story.start
    lived = sum(segment.seconds(now) for segment in story.life)
    assert abs(lived - story.seconds(now)) < 0.001
    for row in story.rows:
        assert all(segment.end is None or segment.end >= segment.start for segment in row.segments)
        assert sum(segment.end is None for segment in row.segments) <= (0 if row.superseded else 2)
    assert all(turn.end is not None for turn in story.turns[:-1])


def lines(segments: Iterable[Segment]) -> list[tuple[str, float, float | None]]:
    return [
        (s.kind, (s.start - T0).total_seconds(), None if s.end is None else (s.end - T0).total_seconds())
        for s in segments
    ]


def rows_of(story: Story) -> dict[str, list[tuple[str, float, float | None]]]:
    return {row.step_id: lines(row.segments) for row in story.rows}


def row_of(story: Story, step_id: str) -> Row:
    row = story.row(step_id)
    assert row is not None
    return row


values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5) | st.just([{}])
)
right_values: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["run", "call", "sleep", "backoff", "doubt", "signal", "hold"]),
    "until": st.floats(0, 10**7).map(until),
    "took": st.floats(0, 10**4),
    "retry_in": st.floats(0, 10**4),
    "attempt": st.integers(1, 4),
}
facts_in_general = (
    st.none() | values | st.dictionaries(st.sampled_from([*right_values, "of", "error", "run_id"]), values)
)
right_facts = st.fixed_dictionaries({}, optional=right_values)
of_any_type = st.tuples(
    st.sampled_from([*CATALOGUE, "a.type.of.tomorrow", "step.of_tomorrow"]),
    st.none() | st.sampled_from("abc"),
    right_facts | facts_in_general,
)
pauses = st.sampled_from([0.0, 0.0, 0.5, 3.0, 3600.0, 10.0**7])
histories = st.lists(st.tuples(pauses, of_any_type), max_size=12).map(
    lambda drawn: [
        (0.0, "run.triggered", None, {"run_id": "order-1"}),
        *(
            (seconds, *event)
            for seconds, (_, event) in zip(itertools.accumulate(p for p, _ in drawn), drawn, strict=True)
        ),
    ]
)


@given(histories, st.booleans(), pauses, st.booleans())
def test_there_is_a_story_of_any_events(history: list[Timed], announced: bool, later: float, leased: bool) -> None:
    events = events_at(*history)
    now = events[-1].recorded_at + datetime.timedelta(seconds=later)
    present = Present(
        now=now,
        kind="turn" if announced else None,
        seq=len(events) if announced else None,
        expires_at=now + datetime.timedelta(seconds=5) if leased else None,
    )
    check(story_of(events), now)
    check(story := story_of(events, present), now)
    scale = Scale(story.start or now, max(now, story.end or now), busy_times(story.turns, now))
    places = [scale.place(moment) for segment in story.life for moment in (segment.start, segment.end or now)]
    assert places == sorted(places)


@pytest.mark.parametrize("type_", CATALOGUE.values(), ids=lambda type_: type_.name)
def test_every_type_of_the_catalogue_has_the_effect_that_it_names(type_: Any) -> None:
    """The story takes from the catalogue what begins and settles waits, ends a run and is an act: a new type needs no code."""
    step_id = "a" if type_.is_of_step else None
    facts: dict[str, Any] = {"attempt": 1, "kind": "signal" if type_.waits_begun == "kind" else "run"}
    if type_.length:
        facts |= {"until": until(500), type_.length: 400}
    waiting = [
        (0, "run.triggered", None, {}),
        (0, "turn.failed", None, {"retry_in": 900, "until": until(900)}),
        (1, "run.diverged", None, {}),
        (1, "run.paused", None, {}),
        (2, "step.suspended", "a", {"kind": "sleep", "until": until(600)}),
    ]
    event = (10, type_.name, step_id, facts)
    story = story_of(events_at(*waiting, event, actor="ada"))
    check(story, at(100))
    settled = lines(row_of(story, "a").segments) if story.row("a") else lines(story.rows[0].segments)
    assert (("sleeping", 2, 10) in settled) == (type_.settles_step or type_.ends_run)
    assert (story.end is not None) == type_.ends_run
    assert (story.marks[-1].type == type_.name) == (type_.is_act or type_.name == "run.triggered")
    if type_.waits_begun == "deadline":
        assert story.deadline == at(500)
    elif type_.waits_begun is not None:
        fresh = story_of(events_at(waiting[0], (5, "turn.started", None, {}), event))
        assert fresh.turn is None
        assert (fresh.life[-1].wait, fresh.life[-1].start) == (facts["kind"] if step_id else type_.waits_begun, at(10))


def test_steps_a_retry_a_sleep_and_the_waits_between() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (1, "turn.started", None, {"worker": "w"}),
            (3, "step.completed", "validate", {"kind": "run", "attempt": 1, "took": 1.5}),
            (
                4,
                "step.failed",
                "charge",
                {"kind": "call", "attempt": 1, "of": 3, "took": 1, "error": "E", "retry_in": 10},
            ),
            (4, "step.suspended", "charge", {"kind": "backoff", "attempt": 1, "seconds": 10, "until": until(14)}),
            (15, "step.retried", "charge", {"attempt": 2}),
            (15, "turn.started", None, {}),
            (16, "step.completed", "charge", {"kind": "call", "attempt": 2, "took": 0.75}),
            (17, "step.suspended", "nap", {"kind": "sleep", "attempt": 1, "seconds": 60, "until": until(77)}),
            (80, "step.completed", "nap", {"kind": "sleep", "attempt": 1, "took": 0}),
            (80, "turn.started", None, {}),
            (82, "step.completed", "ship", {"kind": "run", "attempt": 1, "took": 2}),
            (83, "run.completed", None, {}),
        )
    )
    check(story, at(90))
    assert lines(story.life) == [
        ("waiting", 0, 1),
        ("running", 1, 4),
        ("backoff", 4, 14),
        ("waiting", 14, 15),
        ("running", 15, 17),
        ("sleeping", 17, 77),
        ("waiting", 77, 80),
        ("running", 80, 83),
    ]
    assert [(segment.start, segment.end) for segment in story.waits] == [
        (at(a), at(b)) for a, b in ((0, 1), (14, 15), (77, 80))
    ]
    assert rows_of(story) == {
        "validate": [("running", 1.5, 3)],
        "charge": [("running", 3, 4), ("backoff", 4, 15), ("running", 15.25, 16)],
        "nap": [("sleeping", 17, 80)],
        "ship": [("running", 80, 82)],
    }
    assert [(row.kind, row.state, row.attempts, row.max_attempts) for row in story.rows] == [
        ("run", "completed", 1, 0),
        ("call", "completed", 2, 3),
        ("sleep", "completed", 1, 0),
        ("run", "completed", 1, 0),
    ]
    assert (story.steps, story.retries, story.failure) == (4, 1, None)
    assert [turn.outcome for turn in story.turns] == ["backs off", "sleeps", "completed"]
    charge = row_of(story, "charge")
    assert (charge.worked(at(90)), charge.waited(at(90)), charge.seconds(at(90))) == (1.75, 11, 13)


def test_an_attempt_took_what_it_says_whatever_was_recorded_before_it() -> None:
    """Somebody pauses the run 50 s into a step of 60 s, and asks for other things, too."""
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (50, "run.paused", None, {}),
            (55, "a.type.of.tomorrow", None, {}),
            (60, "step.completed", "charge", {"kind": "run", "attempt": 1, "took": 60}),
        )
    )
    check(story, at(70))
    assert rows_of(story) == {"charge": [("running", 0, 60)]}
    assert row_of(story, "charge").worked(at(70)) == 60
    assert lines(story.life) == [("running", 0, 50), ("held", 50, None)]
    assert story.turns[0].end == at(60)


def test_a_turn_whose_share_is_done_ends_with_its_last_step() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (1, "turn.started", None, {}),
        (2, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 1}),
        (9, "turn.started", None, {}),
        (11, "step.completed", "b", {"kind": "run", "attempt": 1, "took": 2}),
    )
    story = story_of(history)
    assert lines(story.life) == [("waiting", 0, 1), ("running", 1, 2), ("waiting", 2, 9), ("running", 9, None)]
    assert rows_of(story)["b"] == [("running", 9, 11)]
    later = story_of(history, Present(now=at(20), kind="turn", seq=5, announced_at=at(11)))
    assert lines(later.life)[-2:] == [("running", 9, 11), ("waiting", 11, None)]
    assert later.turn is None
    assert [turn.outcome for turn in later.turns] == ["share done", "share done"]


def test_a_worker_that_is_lost_in_a_step_of_which_the_intent_is_recorded() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (2, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 2}),
            (3, "step.intended", "charge", {"kind": "call", "attempt": 1, "of": 3}),
            (60, "turn.abandoned", None, {"turn_seq": 2}),
            (60, "turn.started", None, {}),
            (62, "step.suspended", "charge", {"kind": "doubt", "attempt": 1, "step_kind": "call"}),
            (90, "step.resolved", "charge", {}),
            (90, "step.completed", "charge", {"kind": "call", "attempt": 1, "took": 0, "resolved": True}),
        )
    )
    check(story, at(90))
    assert lines(story.life) == [
        ("running", 0, 3),
        ("lost", 3, 60),
        ("running", 60, 62),
        ("stopped", 62, 90),
        ("waiting", 90, None),
    ]
    row = row_of(story, "charge")
    assert lines(row.segments) == [("lost", 3, 60), ("stopped", 62, 90)]
    assert (row.kind, row.state, row.resolved, row.attempts) == ("call", "completed", True, 1)


def test_a_worker_that_is_lost_elsewhere_is_a_lost_turn_without_a_row() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (2, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 2}),
            (60, "turn.abandoned", None, {"turn_seq": 2}),
            (60, "turn.started", None, {}),
        )
    )
    assert lines(story.life) == [("running", 0, 2), ("lost", 2, 60), ("running", 60, None)]
    assert rows_of(story) == {"a": [("running", 0, 2)]}
    assert (story.turns[0].outcome, story.turns[0].end, story.current) == ("abandoned", at(60), None)


def test_a_lost_attempt_that_is_made_again() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (0, "step.intended", "charge", {"kind": "call", "attempt": 1}),
            (9, "turn.started", None, {}),
        )
    )
    assert story.current is row_of(story, "charge")
    assert (story.current.state, story.current.attempts) == ("pending", 1)
    assert lines(story.current.segments) == [("lost", 0, 9)]
    assert story.turns[0].outcome == "handed back"


def test_a_hold_in_the_middle_of_a_sleep_and_a_rewind_that_supersedes() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (1, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 1}),
            (1, "step.suspended", "nap", {"kind": "sleep", "attempt": 1, "seconds": 600, "until": until(601)}),
            (11, "run.paused", None, {}),
            (21, "run.resumed", None, {}),
            (31, "run.rewound", "a", {}),
            (31, "step.superseded", "a", {}),
            (31, "step.superseded", "nap", {}),
            (32, "turn.started", None, {}),
            (33, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 1}),
            actor="ada",
        )
    )
    check(story, at(40))
    assert [(row.step_id, row.superseded, lines(row.segments)) for row in story.rows] == [
        ("a", True, [("running", 0, 1)]),
        ("nap", True, [("sleeping", 1, 31)]),
        ("a", False, [("running", 32, 33)]),
    ]
    assert lines(story.life) == [
        ("running", 0, 1),
        ("sleeping", 1, 11),
        ("held", 11, 21),
        ("sleeping", 21, 31),
        ("waiting", 31, 32),
        ("running", 32, None),
    ]
    assert [(mark.type, mark.actor) for mark in story.marks][1:] == [
        ("run.paused", "ada"),
        ("run.resumed", "ada"),
        ("run.rewound", "ada"),
    ]


def test_a_failed_run_stands_still_until_it_is_replayed() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (1, "step.failed", "charge", {"kind": "run", "attempt": 1, "of": 4, "took": 1, "error": "E"}),
        (1, "run.failed", "charge", {"error": "E", "attempts": 1}),
        (51, "run.replayed", None, {"failed_seq": 4}),
        (51, "step.superseded", "charge", {}),
        (52, "turn.started", None, {}),
        (53, "step.completed", "charge", {"kind": "run", "attempt": 1, "took": 1}),
        (53, "run.completed", None, {}),
    )
    history[2].payload = history[3].payload = {"message": "no", "traceback": "T"}
    failed = story_of(history[:4])
    assert failed.failure is not None
    assert (failed.end, failed.failure.step_id) == (at(1), "charge")
    assert failed.failure.error == row_of(failed, "charge").error == {"type": "E", "message": "no", "traceback": "T"}
    assert (failed.failure.attempts, failed.failure.max_attempts) == (1, 4)
    story = story_of(history)
    check(story, at(60))
    assert lines(story.life) == [("running", 0, 1), ("stopped", 1, 51), ("waiting", 51, 52), ("running", 52, 53)]
    assert [(row.state, row.superseded) for row in story.rows] == [("failed", True), ("completed", False)]
    assert story.failure is None


def test_waits_of_a_run_that_failed_go_on_when_it_is_replayed() -> None:
    """Its time was up while it slept."""
    story = story_of(
        events_at(
            (0, "run.triggered", None, {"timeout": 60, "until": until(60)}),
            (0, "turn.started", None, {}),
            (0, "step.suspended", "nap", {"kind": "sleep", "attempt": 1, "seconds": 90, "until": until(90)}),
            (60, "run.failed", None, {"error": "RunTimedOut", "attempts": 1}),
            (70, "run.replayed", None, {"failed_seq": 4}),
        )
    )
    check(story, at(80))
    assert story.deadline == at(60)
    assert rows_of(story) == {"nap": [("sleeping", 0, 60), ("sleeping", 70, None)]}
    assert lines(story.life)[1:] == [("sleeping", 0, 60), ("stopped", 60, 70), ("sleeping", 70, None)]
    assert story.current is row_of(story, "nap")


def test_a_step_under_way_when_its_run_is_cancelled_is_shown_to_its_end() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (1, "step.intended", "charge", {"kind": "call", "attempt": 1}),
        (2, "run.cancelled", None, {}),
        (5, "step.completed", "charge", {"kind": "call", "attempt": 1, "took": 4}),
        actor="ada",
    )
    story = story_of(history)
    assert lines(story.rows[0].segments) == [("running", 1, 5)]
    assert (story.end, story.life[-1].end, story.turns[-1].end) == (at(2), at(2), at(5))
    at_work = Present(now=at(3), owner="w", expires_at=at(60))
    assert lines(story_of(history[:4], at_work).rows[0].segments) == [("running", 1, None)]
    assert lines(story_of(history[:4], Present(now=at(90))).rows[0].segments) == [("lost", 1, 2)]


def test_a_cancelled_runs_last_attempt_begins_no_wait() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (2, "run.cancelled", None, {}),
            (5, "step.failed", "charge", {"kind": "call", "attempt": 1, "took": 5, "error": "E", "retry_in": 9}),
            (5, "step.suspended", "charge", {"kind": "backoff", "attempt": 1, "seconds": 9, "until": until(14)}),
        )
    )
    check(story, at(20))
    assert (story.end, rows_of(story), story.current) == (at(2), {"charge": [("running", 0, 5)]}, None)
    assert story.rows[0].state == "failed"


def test_a_sleep_that_an_operator_ends() -> None:
    story = story_of(
        events_at(
            (0, "run.triggered", None, {}),
            (0, "turn.started", None, {}),
            (1, "step.suspended", "nap", {"kind": "sleep", "attempt": 1, "seconds": 600, "until": until(601)}),
            (11, "run.woken", None, {}),
            (11, "step.completed", "nap", {"kind": "sleep", "attempt": 1, "took": 0}),
            (12, "turn.started", None, {}),
            (14, "step.completed", "ship", {"kind": "run", "attempt": 1, "took": 2}),
            actor="ada",
        )
    )
    check(story, at(20))
    assert lines(story.life)[1:] == [("sleeping", 1, 11), ("waiting", 11, 12), ("running", 12, None)]
    assert rows_of(story) == {"nap": [("sleeping", 1, 11)], "ship": [("running", 12, 14)]}


def test_redacted_events_keep_what_the_engine_recorded_of_them() -> None:
    history = events_at(
        (0, "run.triggered", None, {}),
        (0, "turn.started", None, {}),
        (2, "step.failed", "a", {"kind": "run", "attempt": 3, "of": 3, "took": 2, "error": "E"}),
        (2, "run.failed", "a", {"attempts": 3, "error": "E"}),
    )
    for event in history:
        event.is_redacted = True
    story = story_of(history)
    check(story, at(9))
    row = row_of(story, "a")
    assert (row.kind, row.attempts, row.worked(at(9)), row.error) == (
        *("run", 3, 2),
        {"type": "E", "message": "", "traceback": ""},
    )
    assert story.failure is not None
    assert story.failure.is_redacted


def test_ten_thousand_waits_at_once_are_folded_in_time() -> None:
    """A queue finds the one that is shown: looking through all of them at each event would be a hundred million looks."""
    begun = [(1, "step.suspended", f"s{n}", {"kind": "signal"}) for n in range(10_000)]
    settled = [(2, "step.completed", f"s{n}", {"kind": "signal", "took": 0}) for n in range(10_000)]
    story = story_of(events_at((0, "run.triggered", None, {}), (0, "turn.started", None, {}), *begun, *settled))
    assert lines(story.life) == [("running", 0, 1), ("suspended", 1, 2), ("waiting", 2, None)]
    assert story.steps == 10_000


def test_that_a_run_was_imported_long_after_it_ended_does_not_stretch_its_drawing() -> None:
    ended: list[Timed] = [
        (0, "run.triggered", None, {}),
        (5, "step.completed", "a", {}),
        (6, "run.completed", None, {}),
    ]
    story = story_of(events_at(*ended, (10**7, "run.imported", None, {"status": "completed"})))
    assert (story.last_seq, story.last_at, story.end) == (4, at(6), at(6))
    check(story, at(10**7))


def test_a_retry_counts_when_it_happens(db: None) -> None:
    run = history.start("order-1")
    history.add(run, "turn.started", worker="w", version="v1")
    history.fail_attempt(run, retry_in=60)
    assert story_of(events_of(run)).retries == 0

    history.add(run, "step.retried", "charge", attempt=2)
    history.add(run, "turn.started", worker="w", version="v2")
    story = story_of(events_of(run))
    assert (story.retries, story.versions) == (1, ["v1", "v2"])

    history.add(run, "turn.failed", attempt=1, retry_in=60, error={"type": "E", "message": "m", "traceback": ""})
    assert story_of(events_of(run)).retries == 1
    history.add(run, "turn.started", worker="w", version="v2", attempt=2)
    assert story_of(events_of(run)).retries == 2
