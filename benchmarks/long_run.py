"""A run of ten thousand steps: its messages stay small, and its last steps take no longer than its first."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.report import Figure

if TYPE_CHECKING:
    from django_hookflow import Workflow, WorkflowContext

#: Steps whose median stands for "step 10" and "step 10,000".
AROUND = 50


def measure_long_run(steps: int) -> list[Figure]:
    """Runs it in three turns: step 1, all others, and the replay of all of them."""
    from django_hookflow.delivery import outbox
    from django_hookflow.runtime.turn import run_turn

    began: list[float] = []
    workflow = long_workflow(began)
    workflow.trigger({"steps": steps})
    bodies: list[int] = []
    seconds: list[float] = []
    while messages := outbox.take_due(10):
        (message,) = messages
        bodies.append(len(message.body()))
        start = time.perf_counter()
        run_turn(message.workflow_id, message.run_id, message.seq, delivery={})
        seconds.append(time.perf_counter() - start)
    assert (len(bodies), len(began)) == (3, steps), (bodies, len(began))
    return figures(steps, bodies, [later - earlier for earlier, later in pairwise(began)][1:], seconds[-1])


def long_workflow(began: list[float]) -> Workflow:
    from django_hookflow import workflow

    def note(value: int) -> int:
        began.append(time.perf_counter())
        return value

    @workflow(workflow_id="benchmarks.long")
    def long(ctx: WorkflowContext) -> None:
        for i in range(ctx.data["steps"]):
            ctx.step.run(f"step-{i}", note, i)
            if i in (0, ctx.data["steps"] - 1):
                ctx.step.sleep(f"sleep-{i}", seconds=0)

    return long


def figures(steps: int, bodies: list[int], durations: list[float], replay: float) -> list[Figure]:
    first, last = statistics.median(durations[:AROUND]), statistics.median(durations[-AROUND:])
    tenth = max(1, len(durations) // 10)
    growth = statistics.fmean(durations[-tenth:]) / statistics.fmean(durations[:tenth])
    return [
        Figure("message body at step 1", bodies[1], "bytes", at_most=512),
        Figure(f"message body at step {steps:,}", bodies[2], "bytes", at_most=512),
        Figure("step 10 (median of the first 50)", first * 1000, "ms"),
        Figure(
            f"step {steps:,} (median of the last 50)", last * 1000, "ms", ratio=last / first, of="step 10", at_most=1.5
        ),
        Figure(
            "last tenth of all steps, the mean",
            statistics.fmean(durations[-tenth:]) * 1000,
            "ms",
            ratio=growth,
            of="first tenth",
            at_most=1.5,
        ),
        Figure(f"claim and replay of {steps:,} steps", replay * 1000, "ms"),
        Figure("replay, of each step", replay / steps * 1e6, "µs"),
    ]
