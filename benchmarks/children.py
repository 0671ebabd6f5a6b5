"""Children, started, run and joined, against as many runs of their own."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks import project
from benchmarks.report import Figure
from benchmarks.rounds import alternate, median_rate, median_ratio

if TYPE_CHECKING:
    from django_hookflow import Workflow, WorkflowContext

#: Messages that the relay has in hand at once.
CONCURRENCY = 4


def measure_children(number: int, *, rounds: int) -> list[Figure]:
    from django.db import connection

    with connection.cursor() as c:  # of runs that others have left as they were, and whose code is not here
        c.execute("DELETE FROM django_hookflow_outbox")
    rates = alternate(
        {
            "runs": lambda: rate_of(number, start_runs),
            "children": lambda: rate_of(number, start_children),
        },
        rounds,
    )
    own = "runs of their own, started and run"
    ratio = median_ratio(rates, "children", "runs")
    return [
        Figure(own, median_rate(rates, "runs"), "/s"),
        Figure(
            "as many children, started, run and joined", median_rate(rates, "children"), "/s", ratio, own, at_least=0.5
        ),
    ]


def rate_of(number: int, start: Callable[[int], None]) -> float:
    """Runs a second, from the first trigger until all have ended, and who waits for them."""
    from django.utils import timezone

    from django_hookflow.delivery.relay import Relay
    from django_hookflow.models import WorkflowRun
    from django_hookflow.runtime.receiving import receive

    began, since = time.perf_counter(), timezone.now()
    start(number)
    while WorkflowRun.objects.filter(completed_at=None, created_at__gte=since).exists():
        Relay("inline", receive, concurrency=CONCURRENCY).run_once()
    return number / (time.perf_counter() - began)


def start_runs(number: int) -> None:
    for _ in range(number):
        project.trivial_workflow().trigger({"steps": 1})


def start_children(number: int) -> None:
    """A run whose first turn begins all children in one commit, and waits for them."""
    waiting_workflow().trigger({"children": number})


@functools.cache
def waiting_workflow() -> Workflow:
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.parent")
    def parent(ctx: WorkflowContext) -> int:
        return sum(ctx.step.map("child", project.trivial_workflow(), [{"steps": 1}] * ctx.data["children"]))

    return parent
