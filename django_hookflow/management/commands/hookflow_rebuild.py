"""``manage.py hookflow_rebuild``: folds the log into the projections again, or with ``--check`` only compares."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from django_hookflow.events.database import alias
from django_hookflow.management.base import LogCommand
from django_hookflow.management.progress import Progress
from django_hookflow.projections import compare, rebuild
from django_hookflow.projections.ranges import PROJECTIONS, count_runs
from django_hookflow.terminals import counted

#: Two keep a server's second core busy, and one of them always waits for nothing but the other's disk.
JOBS = 2


class Command(LogCommand):
    help = (
        "Rebuilds the projections (runs, waits, dead letters) from the event log, in place and without stopping "
        "active runs. Writes only the rows that differ from the log, and prints how many it repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check",
            action="store_true",
            help="make no changes; print each row that differs, and exit with status 1 if there are any",
        )
        parser.add_argument("--run", metavar="RUN_ID", help="only the run with this ID")
        parser.add_argument(
            "--jobs",
            type=int,
            default=JOBS,
            choices=range(1, 17),
            metavar="N",
            help="number of parallel connections (default: %(default)s); 1 puts the least load on the server",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        run_id = options["run"]
        # Another connection would not see what this one has not committed.
        jobs = 1 if run_id is not None or connections[alias()].in_atomic_block else options["jobs"]
        with Progress(self.stderr, "runs", count_runs() if run_id is None else 1) as progress:
            if options["check"]:
                self._check(run_id, jobs, progress)
            else:
                self._rebuild(run_id, jobs, progress)

    def _check(self, run_id: str | None, jobs: int, progress: Progress) -> None:
        runs = differences = 0
        for part in compare(run_id, jobs=jobs):
            progress.add(part.runs)
            runs += part.runs
            for difference in part.differences:
                differences += 1
                progress.hide()
                self.stdout.write(str(difference))
        progress.hide()
        compared = f"{counted(runs, 'run')} compared with the log: {counted(differences, 'difference')}"
        self.stdout.write(f"{compared}. Run hookflow_rebuild to repair." if differences else compared)
        if differences:
            sys.exit(1)

    def _rebuild(self, run_id: str | None, jobs: int, progress: Progress) -> None:
        runs, repaired = 0, Counter[str]()
        for part in rebuild(run_id, jobs=jobs):
            progress.add(part.runs)
            runs += part.runs
            repaired += part.repaired
        progress.hide()
        for projection in PROJECTIONS:
            self.stdout.write(f"{projection.name}: {repaired[projection.name]} repaired")
        self.stdout.write(f"Done: {counted(runs, 'run')} folded")
