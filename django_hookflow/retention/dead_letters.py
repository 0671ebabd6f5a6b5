"""Removes dead letters that are old, of runs that stay. Each removal is an event of its run."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from django_hookflow.events.database import cursor
from django_hookflow.retention.owning import call_as_owner
from django_hookflow.sql import load

ACTOR = "cleanup_workflows"
PER_BATCH = 500


def remove_dead_letters(created_before: datetime.datetime, *, of_runs_that_stay: bool) -> Iterator[int]:
    """Removes them batch by batch, as the caller iterates, and yields how many. Those of a run that is held stay.

    Raises PermissionDenied.
    """
    after = 0
    while ids := _next_ids(created_before, of_runs_that_stay, after, PER_BATCH):
        statement = "SELECT hookflow_remove_dead_letters(%s::bigint[], %s, %s)"
        (removed,) = call_as_owner("remove dead letters", statement, [ids, created_before, ACTOR])
        yield int(removed)
        after = ids[-1]


def count_dead_letters(created_before: datetime.datetime, *, of_runs_that_stay: bool) -> int:
    return len(_next_ids(created_before, of_runs_that_stay, 0, None))


def _next_ids(created_before: datetime.datetime, of_runs_that_stay: bool, after: int, number: int | None) -> list[int]:
    which = {"created_before": created_before, "of_runs_that_stay": of_runs_that_stay, "after": after, "number": number}
    with cursor() as c:
        c.execute(load("retention_next_dead_letters"), which)
        return [entry for (entry,) in c.fetchall()]
