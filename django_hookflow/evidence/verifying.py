"""The whole log, a part of it or one run, recomputed: what holds is counted, what does not is named."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from psycopg import sql

from django_hookflow.events.database import cursor
from django_hookflow.evidence.audit import Problem
from django_hookflow.evidence.heads import StoredRun, find_problems
from django_hookflow.evidence.reading import reading
from django_hookflow.projections.ranges import FIRST_UID, LAST_UID, Range, ranges_between, runs_named
from django_hookflow.sql import load

#: A range takes so many events, or runs, whichever comes first. Nothing is held meanwhile, so it may take its time.
EVENTS_PER_RANGE = 50_000
RUNS_PER_RANGE = 10_000


@dataclass(frozen=True)
class Verified:
    """A range that is done. ``archived`` runs are left out: their events are not in the log."""

    runs: int
    events: int
    archived: int
    problems: list[Problem] = field(default_factory=list)


def verify(
    run_id: str | None = None, *, since: datetime.datetime | None = None, until: datetime.datetime | None = None
) -> Iterator[Verified]:
    """Verifies range by range, as the caller iterates: the whole log, the run ``run_id``, or runs started in a time.

    Takes no locks and is right beside running appends. Raises UnknownRun and NoLog.
    """
    for runs in _ranges_of(run_id, since, until):
        verified, broken = _recompute(runs)
        verified.problems.extend(problem for run_uid in broken for problem in _find_problems(run_uid))
        yield verified


def uids_between(since: datetime.datetime | None, until: datetime.datetime | None) -> tuple[UUID, UUID]:
    """The least and the greatest run_uid that a run started in that time can have: UUIDv7 begins with milliseconds."""
    first = FIRST_UID if since is None else UUID(int=_milliseconds(since) << 80)
    last = LAST_UID if until is None else UUID(int=(_milliseconds(until) << 80) - 1)
    return first, last


def _milliseconds(moment: datetime.datetime) -> int:
    return max(1, int(moment.timestamp() * 1000))


def count_runs(since: datetime.datetime | None = None, until: datetime.datetime | None = None) -> int:
    """How many runs there are to verify, for a sense of progress."""
    with cursor() as c:
        c.execute(
            "SELECT count(*) FROM django_hookflow_head WHERE run_uid BETWEEN %s AND %s", uids_between(since, until)
        )
        return int(c.fetchone()[0])


def _ranges_of(run_id: str | None, since: datetime.datetime | None, until: datetime.datetime | None) -> Iterator[Range]:
    """Without gaps between them, so that events without a head fall into one, too."""
    if run_id is not None:
        return iter([Range(run_uid, run_uid, runs=1) for run_uid, _ in runs_named(run_id)])
    return ranges_between(*uids_between(since, until), events=lambda: EVENTS_PER_RANGE, runs=RUNS_PER_RANGE)


def _recompute(runs: Range) -> tuple[Verified, list[UUID]]:
    """The counts of a range, and its runs that do not hold."""
    with reading() as c:
        c.execute(load("verify_range"), runs.bounds)
        number, events, archived, broken = c.fetchone()
    return Verified(number, events, archived), broken


def _find_problems(run_uid: UUID) -> list[Problem]:
    run = _load_run(run_uid)
    found = find_problems(run)
    if found or not _recompute(Range(run_uid, run_uid, runs=1))[1]:
        return found  # nothing: it was put right, or archived, since it was seen
    return [Problem("the database computes different hashes for it than documented", run.name)]


def _load_run(run_uid: UUID) -> StoredRun:
    with reading() as c:
        statement = sql.SQL(load("verify_run")).format(lines=sql.SQL(load("event_lines")))
        c.execute(statement, {"from": run_uid, "to": run_uid})
        head, lines = c.fetchone()
    return StoredRun(str(run_uid), json.loads(head) if head else None, [json.loads(line) for line in lines])
