"""Retires the runs that ended long enough ago, after archiving them if there is a place for archives."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from django.db import IntegrityError, transaction
from psycopg import errors

from django_hookflow.events.database import alias, cursor
from django_hookflow.retention import references
from django_hookflow.retention.archive import write_archive
from django_hookflow.retention.owning import call_as_owner
from django_hookflow.retention.runs import DueRun, batches_of, due_runs


@dataclass
class Cleaned:
    """What one step came to. ``removed`` counts rows by model; ``left`` are runs that were held or had moved on;
    ``broken`` names the runs whose chain does not hold, ``held`` those that the project's rows hold, each with why it
    stays. ``seen`` is how many runs are dealt with."""

    removed: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    left: int = 0
    archive: Path | None = None
    broken: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)


def clean(
    ended_before: datetime.datetime, *, archive_to: Path | None, keeps_dead_letters: bool = False
) -> Iterator[Cleaned]:
    """Retires every run that ended before, batch by batch, as the caller iterates; each batch commits by itself.

    Raises ArchiveFailed before anything is removed that is not in an archive, and PermissionDenied before anything is done.
    """
    for portion in due_runs(ended_before):
        yield from retire_portion(portion, ended_before, archive_to=archive_to, keeps_dead_letters=keeps_dead_letters)


def retire_portion(
    runs: Sequence[DueRun],
    ended_before: datetime.datetime,
    *,
    archive_to: Path | None,
    keeps_dead_letters: bool = False,
    keeps_events: bool = False,
) -> Iterator[Cleaned]:
    """Archives ``runs`` in one file, then retires them in batches. Raises ArchiveFailed and PermissionDenied."""
    held = references.find_held(runs)
    if held:
        yield Cleaned(
            seen=len(held),
            held=[f"run {run.run_id!r} was kept: {held[run.run_uid]}" for run in runs if run.run_uid in held],
        )
        runs = [run for run in runs if run.run_uid not in held]
    name = None
    if archive_to is not None:
        _retire([], ended_before, keeps_dead_letters, keeps_events)  # who may not is refused before there is a file
        archive = write_archive(archive_to, runs)
        out = archive.moved + len(archive.broken)
        yield Cleaned(seen=out, left=archive.moved, archive=archive.path, broken=archive.broken)
        runs = archive.runs
        name = archive.path.name if archive.path else None
    for batch in batches_of(runs):
        yield _retire(batch, ended_before, keeps_dead_letters, keeps_events, name)


def _retire(
    runs: Sequence[DueRun],
    ended_before: datetime.datetime,
    keeps_dead_letters: bool,
    keeps_events: bool,
    archive: str | None = None,
) -> Cleaned:
    try:
        with transaction.atomic(using=alias()):
            return _retire_together(runs, ended_before, keeps_dead_letters, keeps_events, archive)
    except IntegrityError as error:
        # A row of the project has come to refer to one of them since they were looked at.
        if not isinstance(error.__cause__, errors.ForeignKeyViolation):
            raise
        return Cleaned(seen=len(runs), left=len(runs))


def _retire_together(
    runs: Sequence[DueRun],
    ended_before: datetime.datetime,
    keeps_dead_letters: bool,
    keeps_events: bool,
    archive: str | None,
) -> Cleaned:
    known = [run.run_uid for run in runs], [run.last_seq for run in runs], [run.head_hash for run in runs]
    retired, events, steps, dead_letters = call_as_owner(
        "retire runs",
        "SELECT * FROM hookflow_retire(%s::uuid[], %s::integer[], %s::bytea[], %s, %s, %s, %s)",
        [*known, ended_before, keeps_dead_letters, keeps_events, archive],
    )
    references.release(run for run in runs if run.run_uid in set(retired))
    return Cleaned(_by_model(len(retired), events, steps, dead_letters), seen=len(runs), left=len(runs) - len(retired))


def count_due(ended_before: datetime.datetime, *, keeps_dead_letters: bool = False) -> Counter[str]:
    """What :func:`clean` would remove if it came through now, by model."""
    counted: Counter[str] = Counter()
    for portion in due_runs(ended_before):
        held = references.find_held(portion)
        portion = [run for run in portion if run.run_uid not in held]
        uids = [run.run_uid for run in portion]
        with cursor() as c:
            c.execute(
                "SELECT (SELECT count(*) FROM django_hookflow_stepexecution WHERE workflow_run_id = ANY (%s)),"
                " (SELECT count(*) FROM django_hookflow_deadletterentry WHERE run_uid = ANY (%s) AND NOT %s)",
                [uids, uids, keeps_dead_letters],
            )
            steps, dead_letters = c.fetchone()
        counted += _by_model(len(portion), sum(run.last_seq for run in portion), steps, dead_letters)
    return counted


def _by_model(runs: int, events: int, steps: int, dead_letters: int) -> Counter[str]:
    names = ("WorkflowRun", "WorkflowEvent", "StepExecution", "DeadLetterEntry")
    return Counter(dict(zip(names, (runs, events, steps, dead_letters), strict=True)))
