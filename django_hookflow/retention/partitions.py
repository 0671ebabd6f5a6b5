"""Partitions of the log: months to come are added, months that are over and whose runs have ended go as a whole."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db import IntegrityError, connections
from psycopg import sql

from django_hookflow.events.database import alias, cursor, database_now, diagnosis
from django_hookflow.exceptions import HookFlowException
from django_hookflow.retention.cleaning import Cleaned, retire_portion
from django_hookflow.retention.owning import explained_to_others
from django_hookflow.retention.runs import EVENTS_PER_PORTION, RUNS_PER_PORTION, DueRun, batches_of
from django_hookflow.sql import load
from django_hookflow.terminals import counted

NAMED = 5  # so many run ids a refusal names


class PartitionRefused(HookFlowException):
    """A partition cannot be made or taken away as things are."""


@dataclass(frozen=True)
class Partition:
    """A partition of the log: the runs that started from ``since`` until ``until`` (None: an open end)."""

    name: str
    from_uid: UUID | None
    to_uid: UUID | None
    since: datetime.datetime | None
    until: datetime.datetime | None
    events: int
    size: int


def partitions() -> list[Partition]:
    """The partitions in the order of their runs; ``events`` is the server's estimate."""
    with cursor() as c:
        c.execute("SELECT name, from_uid, to_uid, since, until, events, bytes FROM hookflow_partitions()")
        return [Partition(*row) for row in c.fetchall()]


def add_partitions(months: int) -> None:
    """Makes sure that each of the next ``months`` months has its partition. Raises PartitionRefused, PermissionDenied."""
    _call("CALL hookflow_add_partitions(%s)", [months])


def count_living(name: str) -> int:
    """How many runs of a partition are not retired; 0 where there is no such partition."""
    with cursor() as c:
        c.execute(
            "SELECT count(living) FROM hookflow_partitions() AS part, hookflow_living_runs(from_uid, to_uid) AS living"
            " WHERE part.name = %s",
            [name],
        )
        return int(c.fetchone()[0])


def archive_partition(name: str, archive_to: Path, *, drop: bool = False) -> Iterator[Cleaned]:
    """Archives and retires the runs of a partition, portion by portion, then detaches it, and with ``drop`` drops it.

    Called again after an interruption it goes on where it was. Raises PartitionRefused where a run of it lives, where
    its time is not over, and where events in it belong to no run; ArchiveFailed and PermissionDenied before anything is
    removed.
    """
    partition = _find_past(name)
    for runs in _living_runs(partition):
        for portion in batches_of(runs, RUNS_PER_PORTION, EVENTS_PER_PORTION):
            yield from retire_portion(portion, database_now(), archive_to=archive_to, keeps_events=True)
    _refuse_strays(partition)
    _call("CALL hookflow_detach_partition(%s, %s)", [name, drop])


def _find_past(name: str) -> Partition:
    """The partition, whose time is over and whose runs have all ended."""
    found = {partition.name: partition for partition in partitions()}
    if name not in found:
        raise PartitionRefused(f"there is no partition {name!r}; existing partitions: {', '.join(found)}")
    if (until := found[name].until) is None or until > database_now():
        raise PartitionRefused(f"{name} was not detached: it is the partition for current or future runs")
    living = [run.run_id for runs, ended in _heads(found[name]) for run in runs if run.run_uid not in ended]
    if living:
        more = f" and {len(living) - NAMED} more" if len(living) > NAMED else ""
        raise PartitionRefused(
            f"{name} was not detached: it has {counted(len(living), 'active run')}: {', '.join(living[:NAMED])}{more}"
        )
    return found[name]


def _living_runs(partition: Partition) -> Iterator[list[DueRun]]:
    for runs, _ in _heads(partition):
        yield runs


def _heads(partition: Partition) -> Iterator[tuple[list[DueRun], set[UUID]]]:
    """The runs of a partition that are not retired, and which of them have ended."""
    after = UUID(int=0)
    while True:
        where = {"from": partition.from_uid, "to": partition.to_uid, "after": after, "runs": RUNS_PER_PORTION}
        with cursor() as c:
            c.execute(load("retention_living_runs"), where)
            rows = c.fetchall()
        if not rows:
            return
        runs = [DueRun(row[0], row[1], row[2], row[3], bytes(row[4])) for row in rows]
        yield runs, {row[0] for row in rows if row[-1]}
        after = runs[-1].run_uid


def _refuse_strays(partition: Partition) -> None:
    """Events without a tombstone are no run's. Somebody made them, or took away their head: evidence, not to go unseen."""
    with cursor() as c:
        c.execute(
            sql.SQL(
                "SELECT run_uid FROM {} AS event WHERE NOT EXISTS"
                " (SELECT FROM django_hookflow_head AS head WHERE head.run_uid = event.run_uid) LIMIT 1"
            ).format(sql.Identifier(partition.name))
        )
        found = c.fetchone()
    if found:
        raise PartitionRefused(
            f"{partition.name} was not detached: it has events of run {found[0]}, which has no head: run "
            "hookflow_verify"
        )


def _call(statement: str, parameters: list[object]) -> None:
    """Calls a procedure, which commits in between and so needs to be the whole of its transaction."""
    if connections[alias()].in_atomic_block:
        raise PartitionRefused("partitions cannot be changed inside a transaction: call this outside atomic()")
    try:
        with explained_to_others("change partitions") as c:
            c.execute(statement, parameters)
    except IntegrityError as error:
        messages = [diagnosis(error, part) for part in ("message_primary", "message_hint")]
        raise PartitionRefused(". ".join(filter(None, messages)) or str(error)) from error
