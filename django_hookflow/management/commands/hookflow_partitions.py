"""``manage.py hookflow_partitions list|add|archive``: the log, a partition for each month."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_hookflow.conf import conf
from django_hookflow.management.base import LogCommand
from django_hookflow.management.progress import Progress
from django_hookflow.retention.archive import writable_directory
from django_hookflow.retention.partitions import (
    Partition,
    PartitionRefused,
    add_partitions,
    archive_partition,
    count_living,
    partitions,
)


class Command(LogCommand):
    help = (
        "Lists the partitions of the event log, adds partitions for the coming months, and archives those of past "
        "months."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="action", required=True, metavar="list|add|archive")
        commands.add_parser("list", help="list the partitions, oldest first; event counts are estimates")
        add = commands.add_parser(
            "add", help="add the missing partitions for the coming months; safe while runs are active"
        )
        add.add_argument(
            "--months", type=int, default=3, metavar="N", choices=range(1, 121), help="number of months (default: 3)"
        )
        archive = commands.add_parser(
            "archive", help="archive the runs of the oldest partition and detach it, once all of them have ended"
        )
        archive.add_argument("name", metavar="NAME")
        archive.add_argument(
            "--archive-to", metavar="DIR", help="archive directory (default: DJANGO_HOOKFLOW_ARCHIVE_DIR)"
        )
        archive.add_argument("--drop", action="store_true", help="also drop the detached table")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "add":
            self._add(options["months"])
        elif options["action"] == "archive":
            self._archive(options["name"], options["archive_to"] or conf.archive_dir, options["drop"])
        else:
            self._list()

    def _list(self) -> None:
        for partition in partitions():
            self.stdout.write(_as_line(partition))

    def _add(self, months: int) -> None:
        before = {partition.name for partition in partitions()}
        add_partitions(months)
        added = [partition.name for partition in partitions() if partition.name not in before]
        for name in added:
            self.stdout.write(f"Added {name}")
        if not added:
            self.stdout.write("Nothing to add: all partitions already exist")

    def _archive(self, name: str, directory: str | None, drop: bool) -> None:
        if not directory:
            raise CommandError("no archive directory: use --archive-to DIR or set DJANGO_HOOKFLOW_ARCHIVE_DIR")
        broken: list[str] = []
        total = count_living(name) if self.stderr.isatty() else 0
        try:
            with Progress(self.stderr, "runs", total) as progress:
                for step in archive_partition(name, writable_directory(directory), drop=drop):
                    progress.add(step.seen)
                    broken += step.broken
                    if step.archive:
                        progress.hide()
                        self.stdout.write(f"Archived in {step.archive}")
        except PartitionRefused as error:
            raise CommandError("\n".join([*broken, str(error)])) from error
        self.stdout.write(
            f"Dropped {name}" if drop else f"Detached {name}: it is now a standalone table that you can drop or move"
        )


def _as_line(partition: Partition) -> str:
    since, until = (f"{at:%Y-%m-%d}" if at else "…" for at in (partition.since, partition.until))
    return f"{partition.name}  {since} – {until}  {partition.events:,} events  {partition.size / 2**20:,.1f} MiB"
