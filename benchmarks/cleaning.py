"""Retiring runs that have ended, without an archive and with one."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.rebuilding import EVENTS_A_RUN, fill
from benchmarks.report import Figure


def measure_cleaning(events: int) -> list[Figure]:
    """Retires all runs that have ended, then as many new ones with an archive."""
    figures = []
    with tempfile.TemporaryDirectory() as directory:
        for name, archive in (("a cleanup", None), ("a cleanup with an archive, verified", Path(directory))):
            fill(events, prefix=f"clean-{time.time_ns()}")
            started = time.perf_counter()
            runs = timed_cleaning(archive)
            seconds = time.perf_counter() - started
            figures.append(Figure(f"{name}: events", runs * EVENTS_A_RUN / seconds, "events/s"))
    return figures


def timed_cleaning(archive_to: Path | None) -> int:
    """Retires everything that has ended, and answers how many runs that was."""
    from django_hookflow.retention.cleaning import clean
    from django_hookflow.retention.runs import moment_before

    return sum(step.removed["WorkflowRun"] for step in clean(moment_before(0), archive_to=archive_to))
