"""Where marks are drawn: on a scale that leaves idle time out, and within the width, whatever the history is."""

from __future__ import annotations

import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.admin.scale import BREAK_WIDTH, Scale, span_in_words
from django_hookflow.admin.waterfall import LINES_PER_PAGE, Waterfall, draw
from django_hookflow.timeline import tell
from django_hookflow.timeline.reading import ToldEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def at(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


def scale(length: float, *busy: tuple[float, float], is_linear: bool = False) -> Scale:
    return Scale(START, at(length), [(at(a), at(b)) for a, b in busy], is_linear=is_linear)


def story(*events: tuple[float, str, str | None, object]) -> Sequence[ToldEvent]:
    return [
        ToldEvent(seq, type_, step_id, None, at(seconds), False, payload)
        for seq, (seconds, type_, step_id, payload) in enumerate(events, start=1)
    ]


def paint(*events: tuple[float, str, str | None, object], now: float = 10_000, linear: bool = False) -> Waterfall:
    return draw(tell(story(*events)), at(now), is_living=True, is_linear=linear)


SLEPT: list[tuple[float, str, str | None, object]] = [
    (0, "run.triggered", None, {}),
    (1, "turn.started", None, {"worker": "w"}),
    (2, "step.completed", "a", {"kind": "run", "attempt": 1}),
    (2, "sleep.started", "nap", {"seconds": 3600}),
    (3602, "turn.started", None, {"worker": "w"}),
    (3602, "step.completed", "nap", {"kind": "sleep"}),
    (3603, "step.failed", "b", {"kind": "run", "attempt": 1, "retry_in": None, "error": {"type": "E"}}),
    (3604, "run.failed", "b", {"error": {"type": "E"}, "attempts": 1}),
]


def test_an_idle_stretch_that_dwarfs_the_rest_is_collapsed() -> None:
    drawn = scale(3604, (1, 2), (3602, 3604))

    (gap,) = drawn.breaks
    assert gap.words == "1 h"
    assert round(gap.right - gap.left, 6) == BREAK_WIDTH
    assert drawn.place(at(0)) == 0
    assert drawn.place(at(2)) == pytest.approx(gap.left)
    assert drawn.place(at(3602)) == pytest.approx(gap.right)
    assert drawn.place(at(3604)) == 100


def test_a_linear_scale_leaves_nothing_out() -> None:
    drawn = scale(100, (0, 1), (99, 100), is_linear=True)

    assert drawn.breaks == []
    assert drawn.place(at(50)) == 50


def test_moments_outside_are_at_the_edges() -> None:
    drawn = scale(10, (0, 10))

    assert (drawn.place(at(-5)), drawn.place(at(50))) == (0, 100)


def test_the_ruler_counts_in_round_numbers_and_anew_after_a_break() -> None:
    words = [tick.words for tick in scale(3612, (0, 6), (3606, 3612)).ticks()]

    assert words == ["0", "2 s", "4 s", "+2 s", "+4 s"]


intervals = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e4)), max_size=8)


@given(length=st.floats(0, 1e5), busy=intervals, moments=st.lists(st.floats(-10, 2e5), min_size=2, max_size=9))
def test_later_is_never_further_left_and_words_never_meet(
    length: float, busy: list[tuple[float, float]], moments: list[float]
) -> None:
    drawn = scale(length, *[(start, start + lasts) for start, lasts in busy])

    places = [drawn.place(at(moment)) for moment in sorted(moments)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert drawn.pieces[-1].right == pytest.approx(100)
    words = sorted([tick.place for tick in drawn.ticks()] + [piece.middle for piece in drawn.breaks])
    assert all(later - earlier > 5 for earlier, later in pairwise(words))


def test_segments_are_told_apart_and_described() -> None:
    drawn = paint(*SLEPT)

    assert [(line.name, line.state, [mark.kind for mark in line.marks]) for line in drawn.lines] == [
        ("a", "completed", ["running"]),
        ("nap", "completed", ["sleeping"]),
        ("b", "failed", ["failed"]),
    ]
    assert [mark.kind for mark in drawn.run.marks].count("turn") == 2
    assert drawn.lines[0].marks[0].words == "attempt 1: completed, 1 s, from 00:00:01.000000 (#3)"
    assert {kind for kind, _ in drawn.kinds} == {"running", "failed", "sleeping", "waiting", "turn"}
    assert len(drawn.breaks) == 1


def test_what_lasts_reaches_the_present_and_a_sleep_its_end() -> None:
    drawn = paint(*SLEPT[:4], now=1802)

    (mark,) = drawn.lines[1].marks
    assert mark.is_open
    assert mark.right == 100
    assert drawn.now is not None
    assert mark.left < drawn.now < 100


def test_a_worker_that_was_lost_is_seen_on_the_run_s_own_line() -> None:
    drawn = paint(
        (0, "run.triggered", None, {}),
        (1, "turn.started", None, {"worker": "w"}),
        (2, "step.completed", "a", {"kind": "run", "attempt": 1}),
        (62, "turn.abandoned", None, {"turn_seq": 2}),
        (63, "turn.started", None, {"worker": "x"}),
        (64, "run.completed", None, {}),
    )

    (lost,) = [mark for mark in drawn.run.marks if mark.kind == "lost"]
    assert lost.words.endswith("1 min, from 00:00:02.000000 (#4)")


def test_every_mark_lies_within_the_width() -> None:
    for linear in (False, True):
        drawn = paint(*SLEPT, linear=linear)
        marks = [mark for line in [drawn.run, *drawn.lines] for mark in line.marks]
        assert marks
        assert all(mark.left >= 0 and mark.right <= 100.001 and mark.width > 0 for mark in marks)


def test_a_long_run_is_drawn_in_parts_of_their_own_scale() -> None:
    steps = [(float(n), "step.completed", f"s{n}", {"kind": "run", "attempt": 1}) for n in range(2, 302)]
    told = tell(story((0.0, "run.triggered", None, {}), (1.0, "turn.started", None, {}), *steps))

    part = draw(told, at(302), is_living=False, first=LINES_PER_PAGE)

    assert (len(part.lines), part.lines[0].name, part.first, part.total) == (LINES_PER_PAGE, "s102", 100, 300)
    assert (part.lines[0].marks[0].left, part.lines[-1].marks[-1].right) == (0, 100)
    assert (part.previous, part.next) == (1, 201)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 ms"), (0.00045, "0.45 ms"), (0.25, "250 ms"), (1.5, "1.5 s"), (3720, "1 h 2 min")]
)
def test_short_spans_are_told_in_milliseconds(seconds: float, words: str) -> None:
    assert span_in_words(seconds) == words
