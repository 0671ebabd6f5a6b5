"""Every hash recomputed, and a checkpoint made and compared."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.report import Figure
from benchmarks.rounds import alternate, median_rate

SECRET = "only-for-benchmarks-" + "0" * 20


def measure_verifying(rounds: int) -> list[Figure]:
    """The log as it stands, which has to be filled before (``rebuilding.fill``)."""
    from django.test import override_settings

    events, runs = count()
    with override_settings(DJANGO_HOOKFLOW_CHECKPOINT_KEY=SECRET):
        rates = alternate(
            {
                "verify": lambda: events / timed_verify(),
                "checkpoint": lambda: runs / timed_checkpoint()[0],
                "prove": lambda: runs / timed_checkpoint()[1],
            },
            rounds,
        )
    return [
        Figure(f"verify {events:,} events", median_rate(rates, "verify"), "events/s", at_least=100_000),
        Figure("checkpoint of 100,000 runs", 100_000 / median_rate(rates, "checkpoint"), "s"),
        Figure("comparing 100,000 runs with a checkpoint", 100_000 / median_rate(rates, "prove"), "s"),
    ]


def count() -> tuple[int, int]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM django_hookflow_event), count(*) FROM django_hookflow_head")
        events, runs = cursor.fetchone()
        return events, runs


def timed_verify() -> float:
    from django_hookflow.evidence.verifying import verify

    start = time.perf_counter()
    assert not [part for part in verify() if part.problems]
    return time.perf_counter() - start


def timed_checkpoint() -> tuple[float, float]:
    """To make one, and to compare the log with it."""
    from django_hookflow.evidence.checkpoints import make_checkpoint
    from django_hookflow.evidence.proving import prove

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "checkpoint.jsonl"
        start = time.perf_counter()
        make_checkpoint(path)
        made = time.perf_counter()
        assert not [proved for proved in prove([path]) if proved.problems]
        return made - start, time.perf_counter() - made
