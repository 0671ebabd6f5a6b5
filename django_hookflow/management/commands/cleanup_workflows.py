"""``manage.py cleanup_workflows``: makes room, without removing what lives or what has not been archived."""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from django_hookflow.conf import conf
from django_hookflow.management.base import LogCommand
from django_hookflow.management.progress import Progress
from django_hookflow.retention.archive import writable_directory
from django_hookflow.retention.cleaning import Cleaned, clean, count_due
from django_hookflow.retention.dead_letters import count_dead_letters, remove_dead_letters
from django_hookflow.retention.runs import moment_before
from django_hookflow.terminals import counted

#: Runs that stay are named up to so many.
NAMED = 50
MODELS = ("WorkflowRun", "WorkflowEvent", "StepExecution", "DeadLetterEntry")


class Command(LogCommand):
    help = (
        "Removes runs that completed, failed or were cancelled before the threshold, with their events, steps and "
        "dead letters, and old dead letters of the runs that are kept. Never removes an active run. If an archive "
        "directory is configured, events are archived first. The ID of a removed run is not reused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days-old", type=_days, default=30, metavar="N", help="remove what is older than N days (default: 30)"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="print what would be removed, without removing anything"
        )
        parser.add_argument(
            "--archive-to",
            type=_name_of_directory,
            metavar="DIR",
            help=(
                "archive the events of each run in this directory before removing them (default: "
                "DJANGO_HOOKFLOW_ARCHIVE_DIR)"
            ),
        )
        only = parser.add_mutually_exclusive_group()
        only.add_argument("--dlq-only", action="store_true", help="remove only dead letters")
        only.add_argument("--workflows-only", action="store_true", help="remove only runs, and keep their dead letters")

    def handle(self, *args: Any, **options: Any) -> None:
        before = moment_before(options["days_old"])
        if options["dry_run"]:
            due = self._count(before, options)
            for model in MODELS:
                self.stdout.write(f"{model}: {due[model]} would be removed")
            self.stdout.write("Dry run: nothing was removed")
            return
        done = Cleaned()
        try:
            self._remove(before, options, done)
        finally:
            self._print(done)
        if done.broken:
            raise CommandError(
                "\n".join(
                    [
                        *done.broken,
                        "These runs were not removed because their events have been altered. Run hookflow_verify "
                        "--run RUN_ID for details.",
                    ]
                )
            )
        self.stdout.write("Done")

    def _count(self, before: datetime.datetime, options: dict[str, Any]) -> Counter[str]:
        counted: Counter[str] = Counter()
        if not options["dlq_only"]:
            counted += count_due(before, keeps_dead_letters=options["workflows_only"])
        if not options["workflows_only"]:
            counted["DeadLetterEntry"] += count_dead_letters(before, of_runs_that_stay=not options["dlq_only"])
        return counted

    def _remove(self, before: datetime.datetime, options: dict[str, Any], done: Cleaned) -> None:
        if not options["dlq_only"]:
            name = options["archive_to"] or conf.archive_dir
            directory = writable_directory(name) if name else None
            self._retire(before, directory, options["workflows_only"], done)
        if not options["workflows_only"]:
            for number in remove_dead_letters(before, of_runs_that_stay=not options["dlq_only"]):
                done.removed["DeadLetterEntry"] += number

    def _retire(self, before: datetime.datetime, directory: Path | None, keeps: bool, done: Cleaned) -> None:
        total = count_due(before)["WorkflowRun"] if self.stderr.isatty() else 0
        with Progress(self.stderr, "runs", total) as progress:
            for step in clean(before, archive_to=directory, keeps_dead_letters=keeps):
                progress.add(step.seen)
                done.removed += step.removed
                done.left += step.left
                done.broken += step.broken
                done.held += step.held
                if step.archive:
                    progress.hide()
                    self.stdout.write(f"Archived in {step.archive}")

    def _print(self, done: Cleaned) -> None:
        for model in MODELS:
            self.stdout.write(f"{model}: {done.removed[model]} removed")
        for sentence in done.held[:NAMED]:
            self.stdout.write(sentence)
        if len(done.held) > NAMED:
            self.stdout.write(f"… and {len(done.held) - NAMED:,} more runs kept because other rows refer to them")
        if done.left:
            self.stdout.write(
                f"{counted(done.left, 'run')} skipped because of concurrent changes; the next cleanup will retry"
            )


def _name_of_directory(text: str) -> str:
    """Not the empty text of a variable that is not set: to remove without an archive has to be meant."""
    if not text:
        raise argparse.ArgumentTypeError("the directory name is empty")
    return text


def _days(text: str) -> int:
    try:
        days = int(text)
    except ValueError:
        days = -1
    if days < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid number of days: use a whole number, 0 or more")
    return days
