"""How long a run that is alone waits: from its trigger to its first turn and to its end, beside a relay that is idle."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from benchmarks import project
from benchmarks.report import Figure
from benchmarks.webhook import web_process

#: Seconds: longer than a relay that finds nothing pauses at most.
IDLE = 2.5


def measure_latency(conninfo: str, *, runs: int, idle: float = IDLE) -> list[Figure]:
    """All moments are the database's: those of the run's own events."""
    with relay(conninfo):
        timed_run()  # what is done once is done
        busy = [timed_run() for _ in range(runs)]
        lone = list(lone_runs(runs, idle))
    with web_process(conninfo, "None") as port, relay(conninfo, port):
        timed_run()
        by_http = list(lone_runs(runs, idle))
    return [
        Figure("a ten-step run after another, trigger to completion", median(end for _, end in busy), "ms"),
        Figure("a ten-step run alone, trigger to completion", median(end for _, end in lone), "ms"),
        Figure("its first turn begins after the trigger", median(begin for begin, _ in lone), "ms", at_most=10),
        Figure("a ten-step run alone, by HTTP", median(end for _, end in by_http), "ms"),
        Figure("its first turn begins after the trigger, by HTTP", median(begin for begin, _ in by_http), "ms"),
    ]


def lone_runs(runs: int, idle: float) -> Iterator[tuple[float, float]]:
    for _ in range(runs):
        time.sleep(idle)
        yield timed_run()


def median(seconds: Iterable[float]) -> float:
    return statistics.median(seconds) * 1000


def timed_run() -> tuple[float, float]:
    """Seconds from a run's trigger to its first turn, and to its end."""
    from django_hookflow.models import WorkflowEvent

    run_id = project.trivial_workflow().trigger({"steps": 10})
    moments: dict[str, float] = {}
    while "run.completed" not in moments:
        time.sleep(0.02)
        events = WorkflowEvent.objects.filter(workflow_run__run_id=run_id)
        moments = {event.type: event.recorded_at.timestamp() for event in events}
    triggered = moments["run.triggered"]
    return moments["turn.started"] - triggered, moments["run.completed"] - triggered


@contextmanager
def relay(conninfo: str, port: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """One that runs turns inline, or sends messages to the web process that listens on ``port``."""
    command = [sys.executable, "-m", "benchmarks.relaying", conninfo, *([] if port is None else [str(port)])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "relaying\n"
        try:
            yield process
        finally:
            process.stdin.close()
