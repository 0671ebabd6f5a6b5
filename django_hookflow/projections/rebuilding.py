"""The projections made again from the log, in place, while work goes on.

Each range is one transaction: take the heads of its runs, fold their events, write the rows that differ. A run whose
head is held by somebody at that moment is not waited for; it is done afterwards, alone, in a transaction of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from django_hookflow.events.database import alias, cursor
from django_hookflow.events.threads import in_threads
from django_hookflow.projections.ranges import PROJECTIONS, Projection, Range, ranges_of
from django_hookflow.sql import load


@dataclass(frozen=True)
class Rebuilt:
    """A range that is done: how many runs it has, and how many rows of each projection were not as the log says.

    ``held_for`` is the longest that heads of it were held, in seconds: what an append may have waited.
    """

    runs: int
    repaired: Counter[str]
    held_for: float


def rebuild(run_id: str | None = None, *, jobs: int = 1) -> Iterator[Rebuilt]:
    """Rebuilds range by range, as the caller iterates; of one run when ``run_id`` is given.

    Each range commits by itself, unless the caller holds a transaction. With several ``jobs``, so many connections work
    on ranges side by side. Raises UnknownRun and NothingToFold, see ``ranges_of``.
    """
    return in_threads(_rebuild_range, ranges_of(run_id), jobs)


def _rebuild_range(runs: Range) -> Rebuilt:
    done, held = _rebuild_unheld(runs, wait=runs.first == runs.last)
    for run_uid in held:
        alone, _ = _rebuild_unheld(Range(run_uid, run_uid, runs=0), wait=True)
        done = Rebuilt(runs.runs, done.repaired + alone.repaired, max(done.held_for, alone.held_for))
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
    with transaction.atomic(using=alias()), cursor() as c:
        c.execute(load("rebuild_wait" if wait else "rebuild_lock"), runs.bounds)
        held = [] if wait else [run_uid for (run_uid,) in c.fetchall()]
        since = time.monotonic()
        for projection in PROJECTIONS:
            if clear:
                c.execute(projection.statement("rebuild_clear"), runs.bounds)
            repaired[projection.name] += _write(c, projection, {**runs.bounds, "held": held}, may_fill=not clear)
    return Rebuilt(runs.runs, repaired, time.monotonic() - since), held


def _write(c: Any, projection: Projection, parameters: dict[str, Any], *, may_fill: bool) -> int:
    """Makes the rows of one projection what the log says, and answers how many were not."""
    if may_fill:
        c.execute(projection.statement("rebuild_is_empty"), parameters)
        if c.fetchone()[0]:
            c.execute(projection.statement("rebuild_fill"), parameters)
            return int(c.rowcount)
    c.execute(projection.statement("rebuild_range"), parameters)
    return int(c.fetchone()[0])
