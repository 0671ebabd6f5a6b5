"""The projections that are tables as their statements know them, and the ranges of runs in which the log is gone through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from django.db import connections, models
from psycopg import sql

from django_hookflow.events.database import alias, cursor
from django_hookflow.exceptions import HookFlowException, UnknownRun
from django_hookflow.models import DeadLetterEntry, Wait, WorkflowRun
from django_hookflow.sql import load

#: A range takes so many events at most, or runs, whichever comes first.
EVENTS_PER_RANGE = 3000
RUNS_PER_RANGE = 1_000

FIRST_UID = UUID(int=0)
LAST_UID = UUID(int=2**128 - 1)


class NothingToFold(HookFlowException):
    """The run's events are in an archive, so its rows cannot be folded from the log."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} has been archived: its events are no longer in the log, so its rows cannot be compared or "
            "rebuilt"
        )


@dataclass(frozen=True)
class Projection:
    """One projection: its model, its fold, and what its columns are for.

    ``run`` names the run; ``key`` distinguishes rows by what is in the log; ``once`` is unique across runs; ``kept`` says
    in SQL whether the row of an archived run was kept when that was retired.
    """

    model: type[models.Model]
    fold: str
    run: str
    key: tuple[str, ...]
    once: str
    kept: str = "false"

    @property
    def name(self) -> str:
        return self.model.__name__

    def statement(self, name: str, columns: tuple[str, ...] = ()) -> str:
        """The statement ``name``, with this projection's table, fold and columns in it; ``columns`` are those it writes."""
        return _statement(self, name, columns)

    def compose(self, name: str, columns: tuple[str, ...] = ()) -> sql.Composed:
        return sql.SQL(load(name)).format(
            stored=sql.Identifier(self.model._meta.db_table),
            table=sql.Literal(self.model._meta.db_table),
            folded=sql.Identifier(self.fold),
            run=sql.Identifier(self.run),
            key=sql.SQL(", ").join(map(sql.Identifier, self.key)),
            once=sql.Identifier(self.once),
            kept=sql.SQL(self.kept),
            gone_key=self._row("gone"),
            stored_key=self._row("(stored)"),
            folded_key=self._row("(folded)"),
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = (folded).{0}").format(sql.Identifier(column)) for column in columns
            ),
            difference=self.compose("diff_range") if name != "diff_range" else sql.SQL(""),
        )

    def _row(self, source: str) -> sql.Composed:
        columns = (sql.SQL(f"{source}.") + sql.Identifier(column) for column in self.key)
        return sql.SQL("({})").format(sql.SQL(", ").join(columns))


@cache
def _statement(projection: Projection, name: str, columns: tuple[str, ...]) -> str:
    """Composed once: it takes half a millisecond, and heads are held meanwhile."""
    connection = connections[alias()]
    connection.ensure_connection()  # before 3.2 psycopg quotes names only with one at hand
    return projection.compose(name, columns).as_string(connection.connection)


PROJECTIONS = (
    Projection(WorkflowRun, "hookflow_fold_runs", run="id", key=("id",), once="run_id"),
    Projection(Wait, "hookflow_fold_waits", run="run_uid", key=("run_uid", "step_id", "kind"), once="id"),
    Projection(
        DeadLetterEntry,
        "hookflow_fold_dead_letters",
        run="run_uid",
        key=("run_uid", "seq"),
        once="id",
        kept="coalesce((head.tombstone->'dead_letters')::jsonb @> to_jsonb(stored.seq), false)",
    ),
)


@dataclass(frozen=True)
class Range:
    """An interval of run_uids, both ends included, and how many heads it has."""

    first: UUID
    last: UUID
    runs: int

    @property
    def bounds(self) -> dict[str, UUID]:
        return {"from": self.first, "to": self.last}


def ranges_of(run_id: str | None, events: Callable[[], int] = lambda: EVENTS_PER_RANGE) -> Iterator[Range]:
    """The ranges to go through: of the whole log, or of the run ``run_id`` alone. ``events`` as for ``ranges_between``.

    Raises UnknownRun, or NothingToFold for an archived run.
    """
    if run_id is not None:
        return iter(_ranges_of_run(run_id))
    return ranges_between(FIRST_UID, LAST_UID, events=events, runs=RUNS_PER_RANGE)


def ranges_between(first: UUID, last: UUID, *, events: Callable[[], int], runs: int) -> Iterator[Range]:
    """Intervals without gaps between them, from one uid to another: of so many events, or runs, whichever comes first.

    ``events`` is asked before each.
    """
    while True:
        with cursor() as c:
            c.execute(load("diff_next_range"), {"from": first, "events": events(), "runs": runs})
            end, number = c.fetchone() or (last, 0)
        yield Range(first, min(end, last), number)
        if end >= last:
            return
        first = UUID(int=end.int + 1)


def _ranges_of_run(run_id: str) -> list[Range]:
    found = runs_named(run_id)
    if any(archived for _, archived in found):
        raise NothingToFold(run_id)
    return [Range(run_uid, run_uid, runs=1) for run_uid, _ in found]


def runs_named(run_id: str) -> list[tuple[UUID, bool]]:
    """The run that has the id, and runs whose row claims it, for rows may have been changed or invented.

    Each with whether the id is that of an archived run. Raises UnknownRun.
    """
    with cursor() as c:
        c.execute(load("diff_run"), {"run_id": run_id})
        found: list[tuple[UUID, bool]] = c.fetchall()
    if not found:
        raise UnknownRun(run_id)
    return found


def count_runs() -> int:
    """How many runs the log has, for a sense of progress."""
    with cursor() as c:
        c.execute("SELECT count(*) FROM django_hookflow_head")
        return int(c.fetchone()[0])
