"""The areas ``archive`` and ``checkpoints``: what is kept outside the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django_hookflow.checks.retention import check_archive
from django_hookflow.conf import conf
from django_hookflow.doctor.findings import Finding, error, from_checks, info, ok, warning
from django_hookflow.durations import format_duration
from django_hookflow.events.database import cursor
from django_hookflow.retention.archive import ArchiveFailed, writable_directory

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: One is to be made every day; that the second is late as well is no accident.
OLD_HOURS = 48
MAKE = "Run manage.py hookflow_checkpoint --output FILE every day and store the files outside the database."


def look_at_archive(visit: Visit) -> Iterator[Finding]:
    if not conf.archive_dir:
        yield from from_checks(
            check_archive(),
            otherwise=ok("archive.none", "No archive directory is configured, and the check for it is silenced."),
        )
        return
    try:
        directory = writable_directory(conf.archive_dir)
    except ArchiveFailed as failed:
        yield error(
            "archive.not_writable",
            f"N{str(failed).partition('. Nothing was removed')[0][1:]}.",
            "Mount or create the directory, and make it writable for the user that runs cleanup_workflows.",
        )
        return
    yield ok("archive.writable", f"The archive directory {directory} is writable.")


def look_at_checkpoints(visit: Visit) -> Iterator[Finding]:
    with cursor() as c:
        c.execute(
            "SELECT extract(epoch FROM hookflow_now() - made_at)::float8 FROM django_hookflow_checkpoint"
            " ORDER BY id DESC LIMIT 1"
        )
        found = c.fetchone()
    if found is None:
        yield _say_none()
    elif found[0] > OLD_HOURS * 3600:
        yield warning("checkpoints.old", f"The last checkpoint was made {format_duration(found[0])} ago.", MAKE)
    else:
        yield ok("checkpoints.made", f"The last checkpoint was made {format_duration(found[0])} ago.")


def _say_none() -> Finding:
    if conf.checkpoint_key:
        return warning("checkpoints.none", "A checkpoint key is configured, but no checkpoint has been made.", MAKE)
    return info(
        "checkpoints.none",
        "No checkpoint has been made, so the removal of a run from the database cannot be detected.",
        f"Set DJANGO_HOOKFLOW_CHECKPOINT_KEY. {MAKE}",
    )
