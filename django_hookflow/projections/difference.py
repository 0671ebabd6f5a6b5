"""What differs between the projections and the log, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from django_hookflow.events.database import cursor
from django_hookflow.events.threads import in_threads
from django_hookflow.projections.ranges import PROJECTIONS, Projection, Range, ranges_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """A row that is not what the log says: ``missing``, ``invented`` (the log knows nothing of it) or ``changed``.

    ``projection`` is the model's name; ``stored`` and ``folded`` are the row as it stands and as the log has it, by
    column, JSON as text; ``columns`` are those of a changed row that differ.
    """

    projection: str
    run_uid: UUID
    run_id: str
    what: Literal["missing", "invented", "changed"]
    stored: Row | None
    folded: Row | None

    @property
    def columns(self) -> tuple[str, ...]:
        if self.stored is None or self.folded is None:
            return ()
        return tuple(column for column, value in self.folded.items() if self.stored[column] != value)

    def __str__(self) -> str:
        """One line, as ``hookflow_rebuild --check`` prints it."""
        row = self.folded or self.stored or {}
        place = "".join(
            f" {label} {printable(str(row[column]))}" for column, label in _PLACES if row.get(column) not in (None, "")
        )
        columns = f" {', '.join(self.columns)}" if self.columns else ""
        return f"{self.projection} of run {printable(self.run_id)}{place}: {self.what}{columns}"


_PLACES = (("step_id", "step"), ("kind", "kind"), ("seq", "seq"))


def printable(text: str) -> str:
    """``text``, or its repr if it has line breaks and the like, with which it could pass for another line."""
    return text if text.isprintable() else repr(text)


def diff(run_id: str | None = None, *, jobs: int = 1) -> Iterator[Difference]:
    """Every difference between the projections and the fold of the log; of one run when ``run_id`` is given.

    Takes no locks and is right beside running appends. ``jobs`` as for ``rebuild``. Raises UnknownRun and NothingToFold,
    see ``ranges_of``.
    """
    for part in compare(run_id, jobs=jobs):
        yield from part.differences


@dataclass(frozen=True)
class Compared:
    """A range that has been compared: how many runs it has, and what differs, by run."""

    runs: int
    differences: list[Difference]


def compare(run_id: str | None = None, *, jobs: int = 1) -> Iterator[Compared]:
    """The same range by range, for those who want to see how far it is."""
    return in_threads(_compare_range, ranges_of(run_id), jobs)


def _compare_range(runs: Range) -> Compared:
    found = [difference for projection in PROJECTIONS for difference in _differences(projection, runs)]
    return Compared(runs.runs, sorted(found, key=lambda difference: difference.run_uid))


def _differences(projection: Projection, runs: Range) -> Iterator[Difference]:
    with cursor() as c:
        c.execute(projection.statement("diff_rows"), runs.bounds)
        names = [column.name for column in c.description[1:]]
        width = len(names) // 2
        for head_run_id, *values in c.fetchall():
            stored = _row(names[:width], values[:width], projection)
            folded = _row(names[width:], values[width:], projection)
            yield _difference(projection, head_run_id, stored, folded)


def _row(names: list[str], values: list[Any], projection: Projection) -> Row | None:
    row = dict(zip(names, values, strict=True))
    return row if row[projection.run] is not None else None


def _difference(projection: Projection, head_run_id: str | None, stored: Row | None, folded: Row | None) -> Difference:
    row = folded or stored or {}
    run_uid = row[projection.run]
    return Difference(
        projection=projection.name,
        run_uid=run_uid,
        run_id=head_run_id or row.get("run_id") or str(run_uid),
        what="missing" if stored is None else "invented" if folded is None else "changed",
        stored=stored,
        folded=folded,
    )
