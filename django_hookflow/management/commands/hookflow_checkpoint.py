"""``manage.py hookflow_checkpoint --output FILE``: a signed statement of where the chain of every run ends."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_hookflow.evidence.checkpoints import make_checkpoint
from django_hookflow.evidence.verifying import count_runs
from django_hookflow.exceptions import HookFlowException
from django_hookflow.management.progress import Progress


class Command(BaseCommand):
    help = (
        "Writes a signed statement of where the hash chain of every run ends. Keep the file where whoever owns the "
        "database cannot write: hookflow_verify --checkpoint FILE then finds a run that was removed, cut short or rewritten."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a file that does not exist yet")

    def handle(self, *, output: Path, **options: Any) -> None:
        try:
            with Progress(self.stderr, "runs", count_runs()) as progress:
                made = make_checkpoint(output, progress.add)
        except (HookFlowException, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{made.path}: {made.runs:,} runs, {made.events:,} events, root {made.root.hex()}")
