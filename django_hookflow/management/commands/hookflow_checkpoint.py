"""``manage.py hookflow_checkpoint --output FILE``: a signed statement of where the chain of every run ends."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from django_hookflow.evidence.checkpoints import make_checkpoint
from django_hookflow.evidence.verifying import count_runs
from django_hookflow.management.base import LogCommand
from django_hookflow.management.progress import Progress
from django_hookflow.terminals import counted


class Command(LogCommand):
    help = (
        "Writes a signed statement of where the hash chain of every run ends. Keep the file where whoever owns the "
        "database cannot write: hookflow_verify --checkpoint FILE then finds a run that was removed, cut short or rewritten."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--output", type=Path, required=True, metavar="FILE", help="the file to write, which must not exist yet"
        )

    def handle(self, *, output: Path, **options: Any) -> None:
        try:
            with Progress(self.stderr, "runs", count_runs()) as progress:
                made = make_checkpoint(output, progress.add)
        except OSError as error:
            raise CommandError(str(error)) from error
        counts = f"{counted(made.runs, 'run')}, {counted(made.events, 'event')}"
        self.stdout.write(f"Checkpoint written to {made.path}: {counts}, root {made.root.hex()}")
