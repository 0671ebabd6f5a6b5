"""Random interleavings of transactions, savepoints, rollbacks and readers: each event once, each run in order."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_hookflow.feed import reader
from django_hookflow.feed.reader import Feed
from tests.feed.reading import add, feed_from_now, new_run, open_transaction, read_all, restarted
from tests.log.calls import ask

if TYPE_CHECKING:
    from uuid import UUID

    import psycopg

    from django_hookflow.feed.reader import FeedEvent

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 3
RUNS = 4

writers = st.integers(0, WRITERS - 1)
actions = st.one_of(
    st.tuples(st.just("append"), writers, st.integers(0, RUNS - 1)),
    st.tuples(
        st.sampled_from(["savepoint", "rollback to savepoint", "commit", "rollback", "other work"]), writers, st.none()
    ),
    st.tuples(st.sampled_from(["read", "restart"]), st.none(), st.integers(1, 3)),
)


class Schedule:
    """Three writers, four runs, and a reader that is stopped and started again between any two of their statements."""

    def __init__(self, exits: ExitStack) -> None:
        self.sessions: list[psycopg.Connection[Any]] = [exits.enter_context(open_transaction()) for _ in range(WRITERS)]
        self.runs: list[UUID] = [new_run() for _ in range(RUNS)]
        self.holders: dict[int, int] = {}  # by run: the writer whose transaction has its head
        self.in_savepoint: set[int] = set()
        self.feed: Feed = feed_from_now()
        self.seen: list[FeedEvent] = []

    def do(self, action: str, writer: int, number: int) -> None:
        getattr(self, action.replace(" ", "_"))(writer, number)

    def append(self, writer: int, run: int) -> None:
        if self.holders.setdefault(run, writer) == writer:  # another one would wait for the head
            add(self.runs[run], "a", within=self.sessions[writer])

    def other_work(self, writer: int, _: int) -> None:
        self.sessions[writer].execute("SELECT pg_current_xact_id()")

    def savepoint(self, writer: int, _: int) -> None:
        self.sessions[writer].execute("SAVEPOINT s")
        self.in_savepoint.add(writer)

    def rollback_to_savepoint(self, writer: int, _: int) -> None:
        if writer in self.in_savepoint:
            self.sessions[writer].execute("ROLLBACK TO s")

    def commit(self, writer: int, _: int) -> None:
        self.sessions[writer].commit()
        self._forget(writer)

    def rollback(self, writer: int, _: int) -> None:
        self.sessions[writer].rollback()
        self._forget(writer)

    def read(self, _: int, limit: int) -> None:
        self.seen += self.feed.read(limit)

    def restart(self, _: int, limit: int) -> None:
        self.feed = restarted(self.feed)

    def finish(self) -> None:
        for writer in range(WRITERS):
            self.commit(writer, 0)
        self.seen += read_all(self.feed)

    def _forget(self, writer: int) -> None:
        self.in_savepoint.discard(writer)
        self.holders = {run: holder for run, holder in self.holders.items() if holder != writer}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedule=st.lists(actions, min_size=5, max_size=60))
def test_each_event_once_and_each_run_in_order(schedule: list[tuple[str, int, int]]) -> None:
    with ExitStack() as exits, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "NARROWEST_SLICE", 2)
        patch.setattr(reader, "WIDEST_SLICE", 8)
        going = Schedule(exits)
        for action in schedule:
            going.do(*action)
        going.finish()
        committed = ask(
            "SELECT run_uid, seq FROM django_hookflow_event WHERE run_uid = ANY (%s) AND seq > 1", going.runs
        )
        assert Counter((event.run_uid, event.seq) for event in going.seen) == Counter(
            (row["run_uid"], row["seq"]) for row in committed
        )
        for run in going.runs:
            seqs = [event.seq for event in going.seen if event.run_uid == run]
            assert seqs == sorted(seqs)
        assert going.feed.read() == []
