"""Where moments are drawn, on the page and on a terminal."""

from __future__ import annotations

import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.timeline.scale import BREAK_WIDTH, Scale

START = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)


def at(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


def scale(length: float, *busy: tuple[float, float], is_linear: bool = False) -> Scale:
    return Scale(START, at(length), [(at(a), at(b)) for a, b in busy], is_linear=is_linear)


def test_an_idle_stretch_that_dwarfs_the_rest_is_collapsed() -> None:
    drawn = scale(3604, (1, 2), (3602, 3604))
    (gap,) = drawn.breaks
    assert gap.words == "1 h"
    assert round(gap.right - gap.left, 6) == BREAK_WIDTH
    assert drawn.place(at(0)) == 0
    assert drawn.place(at(2)) == pytest.approx(gap.left)
    assert drawn.place(at(3602)) == pytest.approx(gap.right)
    assert drawn.place(at(3604)) == 100


def test_a_linear_scale_leaves_nothing_out_and_neither_does_one_of_nothing_but_waiting() -> None:
    for drawn in (scale(100, (0, 1), (99, 100), is_linear=True), scale(100)):
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
