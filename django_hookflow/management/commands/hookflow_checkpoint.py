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
        "Writes a signed checkpoint: the latest hash of every run. Store the file where the owner of the database "
        "cannot change it. hookflow_verify --checkpoint FILE then detects runs that were removed, truncated or "
        "rewritten."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--output", type=Path, required=True, metavar="FILE", help="file to write; must not exist yet"
        )

    def handle(self, *, output: Path, **options: Any) -> None:
        try:
            with Progress(self.stderr, "runs", count_runs()) as progress:
                made = make_checkpoint(output, progress.add)
        except OSError as error:
            raise CommandError(str(error)) from error
        counts = f"{counted(made.runs, 'run')}, {counted(made.events, 'event')}"
        self.stdout.write(f"Checkpoint written to {made.path}: {counts}, root {made.root.hex()}")
