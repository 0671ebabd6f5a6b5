"""``manage.py hookflow_verify``: recomputes the hash chains, compares with checkpoints, and names what does not hold."""

from __future__ import annotations

import datetime
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from django_hookflow.evidence.audit import Known, Problem
from django_hookflow.evidence.proving import BrokenCheckpoint, prove
from django_hookflow.evidence.verifying import count_runs, uids_between, verify
from django_hookflow.exceptions import UnknownRun
from django_hookflow.management.base import LogCommand
from django_hookflow.management.moments import parse_moment
from django_hookflow.management.progress import Progress
from django_hookflow.retention.proving import prove_gone
from django_hookflow.terminals import counted

Moment = datetime.datetime | None


class Command(LogCommand):
    help = (
        "Recomputes the hash of every event in the database and compares the end of each hash chain with the head of "
        "its run and with checkpoints. Takes no locks and is safe while runs are active. Prints each problem with its "
        "run and seq, and exits with status 1 if there are any."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--run", metavar="RUN_ID", help="only the run with this ID")
        parser.add_argument(
            "--since", type=read_moment, metavar="DATE", help="only runs triggered on or after this date"
        )
        parser.add_argument("--until", type=read_moment, metavar="DATE", help="only runs triggered before this date")
        parser.add_argument(
            "--checkpoint",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="check that the log still matches this checkpoint; can be repeated, oldest first",
        )
        parser.add_argument(
            "--archives",
            type=Path,
            metavar="DIR",
            help=(
                "directory with the archives of runs that were archived after the checkpoint; each run must be in one "
                "of them"
            ),
        )

    def handle(self, *, run: str | None, checkpoint: list[Path], archives: Path | None, **options: Any) -> None:
        bounds = options["since"], options["until"]
        if run is not None and any(bounds):
            raise CommandError("--run cannot be combined with --since or --until")
        if archives is not None and not archives.is_dir():
            raise CommandError(f"--archives {archives}: not a directory")
        if archives is not None and not checkpoint:
            raise CommandError(
                "--archives needs a --checkpoint to compare with; to verify archives without a checkpoint, use "
                "hookflow_archive verify --all"
            )
        compared, problems = self._prove(checkpoint, _selection(run, *bounds), archives)
        problems += self._verify(run, *bounds, may_be_gone=compared > 0)
        if problems:
            sys.exit(1)

    def _prove(
        self, checkpoints: list[Path], selects: Callable[[Known], bool], archives: Path | None
    ) -> tuple[int, int]:
        """How many runs the checkpoints know, and how many problems there are."""
        compared = problems = 0
        try:
            for proved in prove(checkpoints, selects):
                found = [*proved.problems, *prove_gone(proved.gone, archives)]
                self._print(found)
                self.stdout.write(str(proved))
                compared += proved.runs
                problems += len(found)
        except BrokenCheckpoint as error:
            self.stdout.write(str(error))
            problems += 1
        return compared, problems

    def _verify(self, run_id: str | None, since: Moment, until: Moment, *, may_be_gone: bool) -> int:
        """How many problems there are. A run that a checkpoint knows may be unknown here: that has been printed."""
        runs = events = archived = problems = 0
        try:
            with Progress(self.stderr, "runs", 1 if run_id is not None else count_runs(since, until)) as progress:
                for part in verify(run_id, since=since, until=until):
                    progress.add(part.runs + part.archived)
                    if part.problems:
                        progress.hide()
                    self._print(part.problems)
                    runs, events, archived = runs + part.runs, events + part.events, archived + part.archived
                    problems += len(part.problems)
        except UnknownRun:
            if not may_be_gone:
                raise
        verified = f"{counted(runs, 'run')} with {counted(events, 'event')} verified"
        left_out = f", {counted(archived, 'archived run')} left out" if archived else ""
        self.stdout.write(f"{verified}{left_out}: {counted(problems, 'problem')}")
        return problems

    def _print(self, problems: list[Problem]) -> None:
        for problem in problems:
            self.stdout.write(str(problem))


def read_moment(text: str) -> datetime.datetime:
    moment = parse_moment(text)
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is not a valid date: use a format such as 2026-01-31 or 2026-01-31T12:00")
    return moment


def _selection(run_id: str | None, since: Moment, until: Moment) -> Callable[[Known], bool]:
    """Which lines of a checkpoint are looked at."""
    if run_id is not None:
        return lambda known: known.run_id == run_id
    first, last = (str(uid) for uid in uids_between(since, until))
    return lambda known: first <= known.run_uid <= last
