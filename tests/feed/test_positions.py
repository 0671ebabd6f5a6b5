"""Snapshots, marks and windows by themselves, against a model that knows every transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.feed.positions import Position, Snapshot, XidMark
from tests.feed.reading import stored_and_loaded

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("text", ["10:10:", "10:20:10", "10:20:10,14,15", "18446744073709551000:18446744073709551001:"])
def test_a_snapshot_is_written_as_it_is_read(text: str) -> None:
    assert str(Snapshot.parse(text)) == text


def test_what_a_snapshot_shows() -> None:
    snapshot = Snapshot.parse("10:20:10,14")
    assert [xid for xid in range(8, 23) if snapshot.shows(xid)] == [8, 9, 11, 12, 13, 15, 16, 17, 18, 19]


xids = st.integers(100, 130)


def test_a_snapshot_in_which_one_more_runs() -> None:
    snapshot = Snapshot.parse("10:20:10,14")
    assert snapshot.with_running(12) == Snapshot.parse("10:20:10,12,14")
    assert snapshot.with_running(8) == Snapshot.parse("8:20:8,10,14")
    assert all(snapshot.with_running(xid) == snapshot for xid in (None, 10, 20, 25))


@st.composite
def snapshots(draw: Callable[..., Any]) -> Snapshot:
    xmax = draw(xids)
    running = draw(st.frozensets(st.integers(100, 130).filter(lambda xid: xid < xmax)))
    return Snapshot(min([xmax, *running]), xmax, running)


@given(snapshots(), snapshots())
def test_first_news_is_the_lowest_transaction_that_the_later_shows_and_the_earlier_does_not(
    earlier: Snapshot, later: Snapshot
) -> None:
    ended = [xid for xid in range(140) if later.shows(xid) and not earlier.shows(xid)]
    assert earlier.find_first_news(later) == min(ended, default=None)


def test_a_position_survives_being_stored() -> None:
    position = (
        Position.after(7).moved_to("42").opened(Snapshot.parse("10:20:10,14"), 900, XidMark(800, 21), 800).read_to(100)
    )
    assert position.oracle == XidMark(800, 21)
    assert stored_and_loaded(position) == position
    closed = position.read_to(900)
    assert closed.oracle is None
    assert stored_and_loaded(closed) == closed
    assert closed.marks == (XidMark(7, 0), XidMark(800, 21)), "transaction 10 may still have drawn a position above 7"


def test_a_window_in_which_nothing_can_be_new_is_closed_without_a_scan() -> None:
    seen = Snapshot.parse("10:10:")
    position = Position.ending("42", 500, seen).opened(seen, 500, None, 500)
    assert (position.reading, position.seen) == (None, seen)


def test_the_floor_rises_when_all_that_could_lie_below_has_ended() -> None:
    position = Position.ending("42", 500, Snapshot.parse("10:10:"))
    position = position.opened(Snapshot.parse("11:12:11"), 600, XidMark(600, 12), 600).read_to(600)
    assert position.floor == 500, "transaction 11 may have drawn 501"
    position = position.opened(Snapshot.parse("13:13:"), 700, XidMark(700, 13), 700)
    assert position.cursor == 500
    position = position.read_to(700)
    assert position.floor == 700
    assert position.is_settled_at(700)
    assert not position.is_settled_at(701)
