"""The reader: batches of events that it has not read before, from a position that can be stored and gone on from."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django_hookflow.events.database import alias, cursor
from django_hookflow.exceptions import HookFlowException, UnknownRun
from django_hookflow.feed.positions import Position, Snapshot, XidMark
from django_hookflow.models import Head, WorkflowEvent
from django_hookflow.sql import load

BATCH = 500
#: With the payload that takes it over so many bytes, as they are stored or as they are read, a batch is full.
BYTES = {"stored": 256 * 1024, "bytes": 4 * 1024 * 1024}

#: How many positions one statement goes through, at first and at most; it doubles while it finds little.
NARROWEST_SLICE, WIDEST_SLICE = 1_000, 128_000
#: How many of them one call of read() may go through without finding anything.
SLICES_PER_READ = 16


class ReadFromStandby(HookFlowException):
    """A standby does not know which transactions are open, so a reader there would lose events."""

    def __init__(self) -> None:
        super().__init__(
            "the log's database is a standby, where open transactions are not visible and events could be skipped: "
            "read from the primary"
        )


class RunIsArchived(HookFlowException):
    """The run's events are no longer in the log."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id!r} has been archived: its events are in the archive file, not in the log")


@dataclass(frozen=True)
class FeedEvent:
    """An event as a reader gets it; ``facts`` and ``payload`` are JSON text to the letter, what was retained of it if redacted."""

    position: int
    run_uid: UUID
    run_id: str | None
    workflow_id: str | None
    seq: int
    type: str
    step_id: str | None
    actor: str | None
    facts: str
    payload: str | None
    recorded_at: datetime.datetime
    version: int
    payload_digest: bytes | None
    hash: bytes

    @property
    def is_redacted(self) -> bool:
        return self.payload_digest is not None

    def as_model(self) -> WorkflowEvent:
        """The same as the model that users know, which the database refuses to save."""
        payload = None if self.payload is None else json.loads(self.payload)
        values = {**vars(self), "workflow_run_id": self.run_uid, "facts": json.loads(self.facts), "payload": payload}
        names = [field.attname for field in WorkflowEvent._meta.concrete_fields if field.attname in values]
        event: WorkflowEvent = WorkflowEvent.from_db(alias(), names, [values[name] for name in names])
        event.run_id = self.run_id or ""
        return event


@dataclass(frozen=True)
class Look:
    """A look at the log: the last position drawn, on which server, and whether a mark can be made of it."""

    drawn: int
    cluster: str
    may_mark: bool


def look() -> Look:
    """To be done before the caller's transaction writes anything. Raises ReadFromStandby."""
    (seen,) = _ask("feed_look")
    if seen.pop("in_recovery"):
        raise ReadFromStandby
    return Look(**seen)


class Feed:
    """Reads the log from ``position`` on: only events of ``types`` (None: all), recorded at ``since`` or later.

    Without ``imported`` those that were brought over from a release 0.0.x are left out.

    ``position`` is as far as the reader has come, and changes with each :meth:`read`. Stored in the transaction in which
    the events are used, it makes that use happen exactly once. In such a transaction hand over a :func:`look` that was
    taken before it wrote anything; without one the reader loses nothing, but its scans get longer with time.
    """

    def __init__(
        self,
        position: Position | None = None,
        *,
        types: Sequence[str] | None = None,
        since: datetime.datetime | None = None,
        imported: bool = True,
        looked: Look | None = None,
    ) -> None:
        self.position = position or Position.after(0)
        self._filters = {"types": None if types is None else list(types), "since": since, "imported": imported}
        self._looked = looked
        self._width = NARROWEST_SLICE
        self._before = self.position  # the last batch

    @property
    def is_caught_up(self) -> bool:
        """After a read that found nothing: whether all is read that was visible when it began."""
        return self.position.reading is None

    def read(self, limit: int = BATCH) -> list[FeedEvent]:
        """The next events, at most ``limit``, fewer of large ones; none when there are none yet, or when many were passed over (see above)."""
        self._before = self.position
        looked, self._looked = self._looked or look(), None
        if self.position.cluster != looked.cluster:
            self.position = self.position.moved_to(looked.cluster)
        may_open = not self.position.is_settled_at(looked.drawn)
        for _ in range(SLICES_PER_READ):
            if self.position.reading is None and may_open:
                self._open(looked)
                may_open = False
            if self.position.reading is None:
                break
            events = self._read_slice(limit)
            if events:
                return events
        return []

    def go_back_to(self, event: FeedEvent | None) -> None:
        """Takes back the last :meth:`read` but for the events up to ``event``; all of it with None."""
        self.position = self._before if event is None else self._before.read_to(event.position)

    def go_to_end(self) -> None:
        """Leaves out everything that has been appended by now."""
        looked = look()
        (opened,) = _ask("feed_open", mark=False)
        self.position = Position.ending(looked.cluster, looked.drawn, _snapshot_in(opened))

    def _open(self, looked: Look) -> None:
        takes_mark = looked.may_mark and looked.drawn > self.position.marks[-1].position
        (opened,) = _ask("feed_open", mark=takes_mark)
        reading = _snapshot_in(opened)
        if self.position.seen is not None and self.position.seen.xmax > reading.xmax:
            # The server has gone back in time: a failover that lost its last transactions.
            self.position = self.position.moved_to(looked.cluster)
        mark = XidMark(looked.drawn, opened["xid"]) if takes_mark else None
        self.position = self.position.opened(reading, opened["end"], mark, looked.drawn)

    def _read_slice(self, limit: int) -> list[FeedEvent]:
        window = self._before = self.position
        upto = min(window.end, window.cursor + self._width)
        oracle = window.oracle or XidMark(-1, 0)
        rows = _ask(
            "feed_slice",
            **self._filters,
            cursor=window.cursor,
            upto=upto,
            seen=window.seen and str(window.seen),
            reading=str(window.reading),
            oracle_position=oracle.position,
            oracle_xid=oracle.xid,
            limit=limit,
            **BYTES,
        )
        left_out = [row.pop("left_out") for row in rows]
        is_full = any(left_out) or len(rows) == limit
        self._width = NARROWEST_SLICE if is_full else min(self._width * 2, WIDEST_SLICE)
        self.position = window.read_to(rows[-1]["position"] if is_full else upto)
        return [FeedEvent(**row) for row in rows]


def _snapshot_in(opened: dict[str, Any]) -> Snapshot:
    """The reader's own transaction runs as well: what it appends later, in this transaction, is yet to be read."""
    return Snapshot.parse(opened["reading"]).with_running(opened["own"])


class RunFeed:
    """Reads one run, in order of ``seq``; the same filters, and ``after``, a position above which events are read."""

    def __init__(
        self,
        run_id: str,
        *,
        after: int = 0,
        types: Sequence[str] | None = None,
        since: datetime.datetime | None = None,
    ) -> None:
        head = Head.objects.using(alias()).filter(run_id=run_id).first()
        if head is None:
            raise UnknownRun(run_id)
        if head.archived_at is not None:
            raise RunIsArchived(run_id)
        self._filters = {"types": None if types is None else list(types), "since": since, "after": after}
        self._run_uid = head.run_uid
        self._seq = 0
        self.is_caught_up = True  # after any read that found nothing

    def read(self, limit: int = BATCH) -> list[FeedEvent]:
        """The next events, at most ``limit``; none when there are none yet."""
        rows = _ask("feed_run", **self._filters, **BYTES, run_uid=self._run_uid, seq=self._seq, limit=limit)
        if rows:
            self._seq = rows[-1]["seq"]
        return [FeedEvent(**row) for row in rows]


def _ask(name: str, **parameters: Any) -> list[dict[str, Any]]:
    with cursor() as c:
        c.execute(load(name), parameters or None)
        names = [column.name for column in c.description]
        return [dict(zip(names, row, strict=True)) for row in c.fetchall()]
