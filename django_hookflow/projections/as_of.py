"""What was known then: the folds over the beginning of the log, up to an event or a moment.

These are plain objects. They are made from the log each time they are asked for and are never saved. What has been
redacted since is not shown of the past either, and runs whose events have gone to an archive are not in the log to fold.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from django_hookflow.events.database import cursor
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import next_wake
from django_hookflow.projections.ranges import NothingToFold
from django_hookflow.sql import load

Moment = int | datetime.datetime
Row = TypeVar("Row", bound="WaitAsOf | DeadLetterAsOf")
Made = TypeVar("Made", bound="RunAsOf | StepAsOf | WaitAsOf | DeadLetterAsOf")


class NotTriggeredYet(HookFlowException):
    """There was nothing of the run at the moment asked for."""

    def __init__(self, run_id: str, moment: Moment) -> None:
        then = f"#{moment}" if isinstance(moment, int) else moment.isoformat()
        super().__init__(f"run {run_id!r} had not been triggered as of {then}")


@dataclass(frozen=True)
class StepAsOf:
    """A step that had completed, with the fields of a StepExecution."""

    id: int
    step_id: str
    kind: str
    result: Any
    attempts: int
    took: float | None
    executed_at: datetime.datetime
    seq: int


@dataclass(frozen=True)
class WaitAsOf:
    """Something the run waited for, with the fields of a Wait."""

    step_id: str
    kind: str
    due_at: datetime.datetime | None
    key: str | None
    scope: str | None
    since_seq: int


@dataclass(frozen=True)
class DeadLetterAsOf:
    """A failure of the run up to then, with the fields of a DeadLetterEntry."""

    id: int
    seq: int
    workflow_id: str
    run_id: str
    step_id: str
    payload: Any
    error_type: str
    error_message: str
    error_traceback: str
    fingerprint: str
    attempt_count: int
    is_replayed: bool
    replayed_at: datetime.datetime | None
    created_at: datetime.datetime


@dataclass(frozen=True)
class RunAsOf:
    """A run with the fields of a WorkflowRun as its first ``seq`` events leave them."""

    seq: int
    id: UUID
    run_id: str
    workflow_id: str
    status: str
    data: Any
    result: Any
    error_type: str
    error_message: str
    label: str
    subjects: list[dict[str, str]] | None
    created_at: datetime.datetime
    updated_at: datetime.datetime
    completed_at: datetime.datetime | None
    parent_uid: UUID | None
    parent_step: str

    @property
    def run_uid(self) -> UUID:
        return self.id

    @property
    def wake_at(self) -> datetime.datetime | None:
        """When the run was going to go on by itself, its deadline apart; None while it was held."""
        return next_wake(self.waits)

    @cached_property
    def step_executions(self) -> list[StepAsOf]:
        """The steps that had completed, in the order of their events."""
        return steps_as_of(self.id, self.seq)

    @cached_property
    def waits(self) -> list[WaitAsOf]:
        """What the run waited for, in the order in which it had begun."""
        return self._folded("SELECT * FROM hookflow_fold_waits_as_of(%s, %s) ORDER BY since_seq", WaitAsOf)

    @cached_property
    def dead_letters(self) -> list[DeadLetterAsOf]:
        """The failures of the run up to then, in order."""
        return self._folded("SELECT * FROM hookflow_fold_dead_letters_as_of(%s, %s) ORDER BY seq", DeadLetterAsOf)

    def _folded(self, fold: str, kind: type[Row]) -> list[Row]:
        return [_made(kind, row) for row in _select(fold, [self.id, self.seq])]


def steps_as_of(run_uid: UUID, seq: int) -> list[StepAsOf]:
    """The steps of a run that had completed with its first ``seq`` events, in the order of their events."""
    rows = _select("SELECT * FROM hookflow_fold_steps_as_of(%s, %s) ORDER BY seq", [run_uid, seq])
    return [_made(StepAsOf, row) for row in rows]


def run_as_of(run_uid: UUID, run_id: str, moment: Moment) -> RunAsOf:
    """The run as its first so many events leave it, or those recorded up to a moment.

    Raises NotTriggeredYet; ValueError for a seq the run has not reached and for a datetime without a time zone;
    NothingToFold when the run's events have gone to an archive.
    """
    seq = seq_at(run_uid, run_id, moment)
    (row,) = _select("SELECT * FROM hookflow_fold_runs_as_of(%s, %s)", [run_uid, seq])
    return _made(RunAsOf, {**row, "seq": seq})


def seq_at(run_uid: UUID, run_id: str, moment: Moment) -> int:
    """The last event of a run at a moment. Raises as :func:`run_as_of`."""
    if not isinstance(moment, int):
        _check_zone(moment)
    until = None if isinstance(moment, int) else moment
    (found,) = _select(load("as_of_last_seq"), {"run_uid": run_uid, "until": until})
    last_seq, last_seq_then = found["last"], found["last_then"]
    if last_seq is None:
        raise NothingToFold(run_id)
    if isinstance(moment, int):
        if moment > last_seq:
            raise ValueError(f"run {run_id!r} has {last_seq} events, not {moment}")
        last_seq_then = moment if moment > 0 else None
    if last_seq_then is None:
        raise NotTriggeredYet(run_id, moment)
    return int(last_seq_then)


@dataclass(frozen=True)
class RunsAsOf:
    """All runs as they were known at a moment, newest first: to be filtered, counted, sliced and iterated.

    The log up to that moment is folded for each question asked, which takes time in proportion to its length.
    """

    moment: datetime.datetime
    run_id: str | None = None
    workflow_id: str | None = None
    status: str | None = None

    def __post_init__(self) -> None:
        _check_zone(self.moment)

    def filter(
        self, *, run_id: str | None = None, workflow_id: str | None = None, status: str | None = None
    ) -> RunsAsOf:
        """Those of which it was true then."""
        return RunsAsOf(self.moment, run_id or self.run_id, workflow_id or self.workflow_id, status or self.status)

    def count(self) -> int:
        return sum(self.count_by_status().values())

    def count_by_status(self) -> dict[str, int]:
        """How many runs stood in each status: ``{"completed": 12, …}``, without those that none stood in."""
        return {row["status"]: row["number"] for row in _select(load("as_of_counts"), vars(self))}

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[RunAsOf]:
        return iter(self[:])

    def __getitem__(self, part: slice) -> list[RunAsOf]:
        """The runs of a slice, ``[20:40]`` for the second twenty."""
        if not isinstance(part, slice) or part.step is not None or min(part.start or 0, part.stop or 0) < 0:
            raise TypeError(
                "a list of runs as of a moment does not support negative indexes or steps: use slices such as [:20] "
                "and [20:40]"
            )
        start = part.start or 0
        page = {"offset": start, "limit": None if part.stop is None else max(0, part.stop - start)}
        return [_made(RunAsOf, row) for row in _select(load("as_of_runs"), {**vars(self), **page})]


def _made(kind: type[Made], row: dict[str, Any]) -> Made:
    """An object of the columns it has a field for."""
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})


def _select(statement: str, parameters: Any) -> list[dict[str, Any]]:
    """Rows by column; jsonb comes as text and is decoded, as a JSONField does it."""
    with cursor() as c:
        c.execute(statement, parameters)
        names = [column.name for column in c.description]
        rows = [dict(zip(names, row, strict=True)) for row in c.fetchall()]
    for row in rows:
        for name in row.keys() & {"data", "result", "payload", "subjects"}:
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def _check_zone(moment: datetime.datetime) -> None:
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: use an aware datetime (django.utils.timezone)")
