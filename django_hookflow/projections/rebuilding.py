"""The projections made again from the log, in place, while work goes on.

Each range is one transaction: take the heads of its runs, fold their events, write the rows that differ. A run whose
head is held by somebody at that moment is not waited for; it is done afterwards, alone, in a transaction of its own.

Others may have to wait for these heads, so they are held for as short as can be. A range takes as many events as can be
done in that time, which is measured as it goes. And its commit does not wait for the disk: what a crash of the server
may take with it is what the log still has. Only when all is done, it is brought to the disk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connections, transaction

from django_hookflow.events.database import alias, cursor, owners_only
from django_hookflow.events.threads import in_threads
from django_hookflow.projections import ranges
from django_hookflow.projections.ranges import PROJECTIONS, Projection, Range, ranges_of
from django_hookflow.sql import load

#: For so many seconds the heads of a range are to be held, less than an append may wait (50 ms): machines stall.
HELD_FOR = 0.03
#: Ranges begin with so few events and become no smaller than a fifth of it, for each costs a few round trips.
FIRST_EVENTS = 500


@dataclass(frozen=True)
class Rebuilt:
    """A range that is done: how many runs it has, and how many rows of each projection were not as the log says.

    ``held_for`` is the longest that heads of it were held, in seconds, the commit included: what an append may have waited.
    """

    runs: int
    repaired: Counter[str]
    held_for: float


def rebuild(run_id: str | None = None, *, jobs: int = 1) -> Iterator[Rebuilt]:
    """Rebuilds range by range, as the caller iterates; of one run when ``run_id`` is given.

    Each range commits by itself, unless the caller holds a transaction. With several ``jobs``, so many connections work
    on ranges side by side. Raises UnknownRun and NothingToFold, see ``ranges_of``, and PermissionDenied.
    """
    pace = Pace()

    def work(runs: Range) -> Rebuilt:
        done, held = _rebuild_unheld(runs, wait=runs.first == runs.last)
        pace.learn(done.held_for)
        return _rebuild_held(done, held)

    return _bring_to_disk(in_threads(work, ranges_of(run_id, pace.events), jobs))


class Pace:
    """How many events a range takes: as many as are done in the time for which heads may be held.

    That depends on the server, on what else it has to do, and on what is in the events.
    """

    def __init__(self) -> None:
        self._events = float(FIRST_EVENTS)

    def events(self) -> int:
        return min(int(self._events), ranges.EVENTS_PER_RANGE)

    def learn(self, held_for: float) -> None:
        """A single stall says little, so no range has less than half of the one before, nor much more."""
        change = min(max(HELD_FOR / max(held_for, 0.001), 0.5), 1.25)
        self._events = min(max(self._events * change, FIRST_EVENTS / 5), ranges.EVENTS_PER_RANGE)


def _bring_to_disk(parts: Iterator[Rebuilt]) -> Iterator[Rebuilt]:
    with owners_only("rebuild projections"):
        yield from parts
        if not _in_transaction():
            with transaction.atomic(using=alias()), cursor() as c:
                c.execute(load("rebuild_end"))


def _in_transaction() -> bool:
    return connections[alias()].in_atomic_block


def _rebuild_held(done: Rebuilt, held: list[UUID]) -> Rebuilt:
    """``done``, and the runs of the range that were left out, each for itself."""
    for run_uid in held:
        alone, _ = _rebuild_unheld(Range(run_uid, run_uid, runs=0), wait=True)
        done = Rebuilt(done.runs, done.repaired + alone.repaired, max(done.held_for, alone.held_for))
    return done


def _rebuild_unheld(runs: Range, *, wait: bool) -> tuple[Rebuilt, list[UUID]]:
    """What was done, and the runs left out because their heads were held."""
    try:
        return _rebuild_at_once(runs, wait=wait, clear=False)
    except IntegrityError:
        # A row outside the range holds a key that belongs inside it: the work of a hand, so rare that it pays to look
        # for such rows only now. Or a run of an empty range has started meanwhile.
        return _rebuild_at_once(runs, wait=wait, clear=True)


def _rebuild_at_once(runs: Range, *, wait: bool, clear: bool) -> tuple[Rebuilt, list[UUID]]:
    repaired: Counter[str] = Counter()
    is_ours = not _in_transaction()
    with transaction.atomic(using=alias()), cursor() as c:
        empty, columns = _prepare(c, runs, waits_for_disk=not is_ours)
        since = time.monotonic()
        c.execute(load("rebuild_wait" if wait else "rebuild_lock"), runs.bounds)
        held = [] if wait else [run_uid for (run_uid,) in c.fetchall()]
        if wait:
            since = time.monotonic()  # until here we waited, and nobody for us
        for projection in PROJECTIONS:
            if clear:
                c.execute(projection.statement("rebuild_clear"), runs.bounds)
            parameters = {**runs.bounds, "held": held}
            if projection in empty and not clear:
                repaired[projection.name] += _fill(c, projection, parameters)
            else:
                repaired[projection.name] += _compare_and_write(c, projection, columns[projection], parameters)
    return Rebuilt(runs.runs, repaired, time.monotonic() - since), held


def _prepare(
    c: Any, runs: Range, *, waits_for_disk: bool
) -> tuple[tuple[Projection, ...], dict[Projection, tuple[str, ...]]]:
    """What can be done before heads are held. Answers the projections that have no row in the range, and their columns."""
    asked = [
        f"({projection.statement(name)})"
        for name in ("rebuild_is_empty", "rebuild_columns")
        for projection in PROJECTIONS
    ]
    if not waits_for_disk:
        asked.append("set_config('synchronous_commit', 'off', true)")
    c.execute(f"SELECT {', '.join(asked)}", runs.bounds)
    found = c.fetchone()
    columns = map(tuple, found[len(PROJECTIONS) :])
    return tuple(compress(PROJECTIONS, found)), dict(zip(PROJECTIONS, columns, strict=False))


def _fill(c: Any, projection: Projection, parameters: dict[str, Any]) -> int:
    """Writes all rows of one projection, and answers how many."""
    c.execute(projection.statement("rebuild_fill"), parameters)
    return int(c.rowcount)


def _compare_and_write(c: Any, projection: Projection, columns: tuple[str, ...], parameters: dict[str, Any]) -> int:
    """Makes the rows of one projection what the log says, and answers how many were not."""
    c.execute(projection.statement("rebuild_range", columns), parameters)
    return int(c.fetchone()[0])
