"""The projections made again from the log, in place, while work goes on.

Each range is one transaction: take the heads of its runs, fold their events, write the rows that differ. A run whose
head is held by somebody at that moment is not waited for; it is done afterwards, alone, in a transaction of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from django_hookflow.events.database import alias, cursor
from django_hookflow.projections.ranges import PROJECTIONS, Range, ranges_of
from django_hookflow.sql import load


@dataclass(frozen=True)
class Rebuilt:
    """A range that is done: how many runs it has, and how many rows of each projection were not as the log says."""

    runs: int
    repaired: Counter[str]


def rebuild(run_id: str | None = None) -> Iterator[Rebuilt]:
    """Rebuilds range by range, as the caller iterates; of one run when ``run_id`` is given.

    Each range commits by itself, unless the caller holds a transaction. Raises UnknownRun and NothingToFold, see
    ``ranges_of``.
    """
    for runs in ranges_of(run_id):
        repaired, held = _rebuild_range(runs, wait=runs.first == runs.last)
        for run_uid in held:
            repaired += _rebuild_range(Range(run_uid, run_uid, runs=1), wait=True)[0]
        yield Rebuilt(runs.runs, repaired)


def _rebuild_range(runs: Range, *, wait: bool) -> tuple[Counter[str], list[UUID]]:
    """The rows repaired, by projection, and the runs left out because their heads were held."""
    try:
        return _rebuild_at_once(runs, wait=wait, clear=False)
    except IntegrityError:
        # A row outside the range holds a key that belongs inside it: the work of a hand, so rare that it pays to look
        # for such rows only now.
        return _rebuild_at_once(runs, wait=wait, clear=True)


def _rebuild_at_once(runs: Range, *, wait: bool, clear: bool) -> tuple[Counter[str], list[UUID]]:
    repaired: Counter[str] = Counter()
    with transaction.atomic(using=alias()), cursor() as c:
        c.execute(load("rebuild_wait" if wait else "rebuild_lock"), runs.bounds)
        held = [] if wait else [run_uid for (run_uid,) in c.fetchall()]
        for projection in PROJECTIONS:
            if clear:
                c.execute(projection.statement("rebuild_clear"), runs.bounds)
            c.execute(projection.statement("rebuild_range"), {**runs.bounds, "held": held})
            repaired[projection.name] += c.fetchone()[0]
    return repaired, held
