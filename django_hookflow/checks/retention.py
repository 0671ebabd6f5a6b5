"""What retention needs: an archive, and partitions for the time to come."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage

from django_hookflow.checks.messages import warning
from django_hookflow.checks.server import is_looked_at
from django_hookflow.conf import SETTINGS, is_stateless
from django_hookflow.events.database import cursor

if TYPE_CHECKING:
    from collections.abc import Collection

#: Two weeks ahead, twice what hookflow_add_partitions keeps between now and where it splits.
_CATCH_ALL = """
    SELECT name, since, since < hookflow_now() + interval '14 days',
      EXISTS (SELECT FROM pg_constraint WHERE conrelid = relation AND conname = 'django_hookflow_event_split')
    FROM hookflow_partitions() WHERE to_uid IS NULL
"""


def check_archive(**kwargs: Any) -> list[CheckMessage]:
    """W011, with ``--deploy``: what cleanup_workflows removes is kept somewhere."""
    if is_stateless() or SETTINGS["DJANGO_HOOKFLOW_ARCHIVE_DIR"].read():
        return []
    return [
        warning(
            "W011",
            "DJANGO_HOOKFLOW_ARCHIVE_DIR is not configured, so cleanup_workflows deletes events permanently.",
            "Set it to a directory that is backed up, or run cleanup_workflows with --archive-to. Without an archive, "
            "you cannot prove later what a run did. If that is intended, silence this check.",
        )
    ]


def check_partitions(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """W022, W023: where the log is partitioned, there is a partition for the time to come, and no split was left half-way."""
    if not is_looked_at(databases):
        return []
    with cursor() as c:
        c.execute(
            "SELECT to_regprocedure('hookflow_partitions()') IS NOT NULL AND to_regprocedure('hookflow_now()') IS NOT NULL"
            " AND to_regclass('django_hookflow_event') IS NOT NULL"
        )
        if not c.fetchone()[0]:
            return []  # not migrated yet, or E026 says what is gone
        c.execute(_CATCH_ALL)
        found = c.fetchone()
    return [*_describe_missing_partition(*found[:3]), *_describe_half_split(found[0], found[3])] if found else []


def _describe_missing_partition(table: str, since: datetime.datetime | None, is_soon: bool) -> list[CheckMessage]:
    # One partition for everything, as it is made, is no mistake.
    if since is None or not is_soon:
        return []
    return [
        warning(
            "W022",
            f"The monthly partitions end on {since:%Y-%m-%d}: later runs go to {table}, which has no upper bound.",
            "Run manage.py hookflow_partitions add from cron every month. Nothing is lost without it, but the "
            "unbounded partition takes longer to split as it grows, and it cannot be archived as a whole.",
        )
    ]


def _describe_half_split(table: str, is_half_split: bool) -> list[CheckMessage]:
    if not is_half_split:
        return []
    return [
        warning(
            "W023",
            f"{table} has the constraint django_hookflow_event_split: a split is in progress or was interrupted.",
            "If no split is in progress, run manage.py hookflow_partitions add again: after its date, the constraint "
            "would reject new runs.",
        )
    ]
