"""``manage.py hookflow_rebuild``: folds the log into the projections again, or with ``--check`` only compares."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_hookflow.exceptions import UnknownRun
from django_hookflow.projections import NothingToFold, diff, rebuild
from django_hookflow.projections.ranges import PROJECTIONS, count_runs


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

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["check"]:
                self._check(options["run"])
            else:
                self._rebuild(options["run"])
        except (UnknownRun, NothingToFold) as error:
            raise CommandError(str(error)) from error

    def _check(self, run_id: str | None) -> None:
        differs = False
        for difference in diff(run_id):
            differs = True
            self.stdout.write(str(difference))
        if differs:
            sys.exit(1)

    def _rebuild(self, run_id: str | None) -> None:
        shows_progress = self.stderr.isatty()
        total = count_runs() if run_id is None else 1
        done = 0
        repaired: Counter[str] = Counter()
        for part in rebuild(run_id):
            done += part.runs
            repaired += part.repaired
            if shows_progress:
                self.stderr.write(f"\r{done:,} of {total:,} runs", ending="")
        if shows_progress:
            self.stderr.write("")
        for projection in PROJECTIONS:
            self.stdout.write(f"{projection.name}: {repaired[projection.name]} repaired")
