"""Appends by another process while the log is rebuilt, verified and cleaned up: their rate, and the longest of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import cleaning, rebuilding, verifying
from benchmarks.report import Figure

Measure = Callable[[Callable[[], object]], dict[str, float]]


def measure_beside(conninfo: str, seconds: float) -> list[Figure]:
    """With the log as it stands. The last two remove the runs that have ended, half of them each."""
    with appender(conninfo) as measure:
        alone = measure(lambda: time.sleep(seconds))
        ways: dict[str, Callable[[], object]] = {
            "a rebuild from nothing, 2 connections": lambda: rebuilding.timed_rebuild([], jobs=2, from_nothing=False),
            "the same with 1": lambda: rebuilding.timed_rebuild([], jobs=1, from_nothing=False),
            "a comparison (--check)": rebuilding.timed_diff,
            "a verify": verifying.timed_verify,
            "a cleanup": lambda: cleaning.timed_cleaning(None),
        }
        figures = [
            Figure("appends by another process, alone", rate(alone), "appends/s"),
            Figure("the longest of them", alone["longest"] * 1000, "ms"),
        ]
        for name, work in ways.items():
            if "rebuild" in name or "the same" in name:
                rebuilding.empty_projections()  # not while it is measured: TRUNCATE locks out everybody
            figures += figures_of(name, measure(work), alone)
        rebuilding.fill(rebuilding.EVENTS_A_RUN * 2_000, prefix=f"again-{time.time_ns()}")
        with tempfile.TemporaryDirectory() as directory:
            archived = measure(lambda: cleaning.timed_cleaning(Path(directory)))
        return [*figures, *figures_of("a cleanup with an archive", archived, alone)]


def figures_of(name: str, measured: dict[str, float], alone: dict[str, float]) -> list[Figure]:
    return [
        Figure(f"appends beside {name}", rate(measured), "appends/s", ratio=rate(measured) / rate(alone), of="alone"),
        Figure(f"the longest beside {name}", measured["longest"] * 1000, "ms", at_most=1000),
    ]


def rate(measured: dict[str, float]) -> float:
    return measured["appends"] / measured["seconds"]


@contextmanager
def appender(conninfo: str) -> Iterator[Measure]:
    """What appends as long as some work takes, and answers how it went."""
    command = [sys.executable, "-m", "benchmarks.appender", conninfo]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        to_it, from_it = process.stdin, process.stdout

        def measure(work: Callable[[], object]) -> dict[str, float]:
            to_it.write("go\n")
            to_it.flush()
            assert from_it.readline() == "appending\n"
            work()
            to_it.write("stop\n")
            to_it.flush()
            measured: dict[str, float] = json.loads(from_it.readline())
            return measured

        yield measure
        to_it.close()
