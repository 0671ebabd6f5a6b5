"""The runs that are due, in portions."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django_hookflow.events.database import cursor
from django_hookflow.sql import load

#: What one transaction retires: so many runs or events, whichever comes first.
RUNS_PER_BATCH, EVENTS_PER_BATCH = 1_000, 10_000
#: What is looked for at once, and what one archive holds.
RUNS_PER_PORTION, EVENTS_PER_PORTION = 50_000, 250_000

LONGEST = 700_000  # days; further back Python has no dates


@dataclass(frozen=True)
class DueRun:
    """A run that could be retired, as its head had it: whoever retires it has to find it like this."""

    run_uid: UUID
    run_id: str
    workflow_id: str
    last_seq: int
    head_hash: bytes
    created_at: datetime.datetime | None = None


def moment_before(days: int) -> datetime.datetime:
    """The moment so many days ago, by the database's clock."""
    with cursor() as c:
        c.execute("SELECT hookflow_now() - make_interval(hours => 24 * %s)", [min(days, LONGEST)])
        moment: datetime.datetime = c.fetchone()[0]
    return moment


def due_runs(ended_before: datetime.datetime) -> Iterator[list[DueRun]]:
    """The runs that ended before, oldest first, a portion at a time; each is looked at once."""
    after = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc), UUID(int=0)
    while True:
        portion = _next_portion(ended_before, *after)
        if not portion:
            return
        yield portion
        assert portion[-1].created_at is not None
        after = portion[-1].created_at, portion[-1].run_uid


def _next_portion(ended_before: datetime.datetime, after_at: datetime.datetime, after_uid: UUID) -> list[DueRun]:
    limits = {"runs": RUNS_PER_PORTION, "events": EVENTS_PER_PORTION}
    where = {"ended_before": ended_before, "after_at": after_at, "after_uid": after_uid}
    with cursor() as c:
        c.execute(load("retention_next_runs"), {**where, **limits})
        return [
            DueRun(run_uid, run_id, workflow_id, last_seq, bytes(head_hash), created_at)
            for run_uid, run_id, workflow_id, last_seq, head_hash, created_at in c.fetchall()
        ]


def batches_of(
    runs: Iterable[DueRun], max_runs: int = RUNS_PER_BATCH, max_events: int = EVENTS_PER_BATCH
) -> Iterator[list[DueRun]]:
    """``runs`` in the portions that one transaction takes, in their order."""
    batch: list[DueRun] = []
    events = 0
    for run in runs:
        if batch and (len(batch) == max_runs or events + run.last_seq > max_events):
            yield batch
            batch, events = [], 0
        batch.append(run)
        events += run.last_seq
    if batch:
        yield batch
