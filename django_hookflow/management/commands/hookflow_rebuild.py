"""``manage.py hookflow_rebuild``: folds the log into the projections again, or with ``--check`` only compares."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from django_hookflow.events.database import alias
from django_hookflow.exceptions import PermissionDenied, UnknownRun
from django_hookflow.management.progress import Progress
from django_hookflow.management.unknown_runs import explain
from django_hookflow.projections import NothingToFold, compare, rebuild
from django_hookflow.projections.ranges import PROJECTIONS, count_runs

#: Two keep a server's second core busy, and one of them always waits for nothing but the other's disk.
JOBS = 2


class Command(BaseCommand):
    help = (
        "Folds the event log into the projections again (runs, steps, dead letters), in place and beside running work. "
        "Writes only rows that differ from the log and prints how many did."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="change nothing; print a line for each row that differs and exit 1 if there is any",
        )
        parser.add_argument("--run", metavar="RUN_ID", help="only the run that has this id")

        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            choices=range(1, 17),
            metavar="N",
            help="connections that work side by side (default: %(default)s); 1 to go easy on the server",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        run_id = options["run"]
        # Another connection would not see what this one has not committed.
        jobs = 1 if run_id is not None or connections[alias()].in_atomic_block else options["jobs"]
        try:
            with Progress(self.stderr, "runs", count_runs() if run_id is None else 1) as progress:
                if options["check"]:
                    self._check(run_id, jobs, progress)
                else:
                    self._rebuild(run_id, jobs, progress)
        except (UnknownRun, NothingToFold, PermissionDenied) as error:
            raise CommandError(explain(error, run_id)) from error

    def _check(self, run_id: str | None, jobs: int, progress: Progress) -> None:
        differs = False
        for part in compare(run_id, jobs=jobs):
            progress.add(part.runs)
            for difference in part.differences:
                differs = True
                self.stdout.write(str(difference))
        if differs:
            sys.exit(1)

    def _rebuild(self, run_id: str | None, jobs: int, progress: Progress) -> None:
        repaired: Counter[str] = Counter()
        for part in rebuild(run_id, jobs=jobs):
            progress.add(part.runs)
            repaired += part.repaired
        for projection in PROJECTIONS:
            self.stdout.write(f"{projection.name}: {repaired[projection.name]} repaired")
