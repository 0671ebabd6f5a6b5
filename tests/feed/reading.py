"""Readers as tests use them, and sessions whose transactions are left open."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django_hookflow.feed.positions import Position
from django_hookflow.feed.reader import Feed, FeedEvent
from tests.log.calls import append, ask, session, start, step
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    import psycopg


def stored_and_loaded(position: Position) -> Position:
    """What a restart makes of a position: it is written as JSON and read again."""
    return Position.from_json(json.loads(json.dumps(position.to_json())))


def restarted(feed: Feed) -> Feed:
    return Feed(stored_and_loaded(feed.position))


def feed_from_now() -> Feed:
    feed = Feed()
    feed.go_to_end()
    return feed


def read_all(feed: Feed, limit: int = 500) -> list[FeedEvent]:
    """Reads until nothing is left of what was visible, and once more."""
    events: list[FeedEvent] = []
    while True:
        batch = feed.read(limit)
        events += batch
        if not batch and feed.is_caught_up:
            return events


def wait_until_settled(feed: Feed, but_for: int | None = None) -> None:
    """Until all has ended that was open when the reader took its last mark, but for the transaction with this id.

    Snapshots and transaction ids are the server's, not the database's. So how soon a reader settles depends on what
    tests in other databases have open; that it settles when those end, and reads nothing meanwhile, does not.
    """

    def is_settled() -> bool:
        assert read_all(feed) == []
        seen, mark = feed.position.seen, feed.position.marks[-1]
        assert seen is not None
        if mark.position < last_position():
            return False
        if but_for is None:
            return feed.position.is_settled_at(mark.position)
        return mark.xid <= min(seen.running - {but_for}, default=seen.xmax)

    wait_until(is_settled, "what others have open has ended", timeout=60)


def steps_of(events: list[FeedEvent]) -> list[str | None]:
    return [event.step_id for event in events]


@contextmanager
def open_transaction() -> Iterator[psycopg.Connection[Any]]:
    """A session in a transaction, to be committed or rolled back by the test."""
    with session() as other:
        other.autocommit = False
        yield other
        other.rollback()


def new_run(run_id: str | None = None) -> UUID:
    uid: UUID = start(run_id)["run_uid"]
    return uid


def add(run_uid: UUID, *step_ids: str, within: psycopg.Connection[Any] | None = None) -> None:
    append(run_uid, None, *(step(step_id) for step_id in step_ids), session=within)


def xid_of(session: psycopg.Connection[Any]) -> int:
    """The id of the transaction that the session is in; it gets one if it has none."""
    (row,) = ask("SELECT pg_current_xact_id()::text::bigint AS xid", session=session)
    return int(row["xid"])


def last_position() -> int:
    (row,) = ask("SELECT last_value FROM django_hookflow_event_position_seq")
    return int(row["last_value"])
