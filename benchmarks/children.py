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
    rates = alternate(
        {
            "runs": lambda: rate_of(number, start_runs),
            "children": lambda: rate_of(number, start_children),
        },
        rounds,
    )
    own = f"{number:,} runs of their own, started and run"
    ratio = median_ratio(rates, "children", "runs")
    return [
        Figure(own, median_rate(rates, "runs"), "/s"),
        Figure(
            "as many children, started, run and joined", median_rate(rates, "children"), "/s", ratio, own, at_least=0.5
        ),
    ]


def rate_of(number: int, start: Callable[[int], None]) -> float:
    """Runs a second, from the first trigger until nothing is announced any more."""
    from django_hookflow.delivery.relay import Relay
    from django_hookflow.models import OutboxMessage
    from django_hookflow.runtime.receiving import receive

    began = time.perf_counter()
    start(number)
    while OutboxMessage.objects.exists():
        Relay("inline", receive, concurrency=CONCURRENCY).run_once()
    return number / (time.perf_counter() - began)


def start_runs(number: int) -> None:
    for _ in range(number):
        project.trivial_workflow().trigger({"steps": 1})


def start_children(number: int) -> None:
    """A run whose first turn begins all children in one append, and waits for them."""
    from django_hookflow.events import log, types
    from django_hookflow.runtime.children import new_child
    from django_hookflow.runtime.execution import Execution, Options, Todo
    from django_hookflow.runtime.history import History
    from django_hookflow.runtime.journal import LogJournal

    parent = waiting_workflow()
    run_id = parent.trigger({"children": number})
    claim = log.claim(parent.workflow_id, run_id, 1, owner="benchmark", lease_seconds=60, facts={})
    with LogJournal(parent.workflow_id, run_id, claim) as journal:
        execution = Execution(journal, History(journal.history(), journal.turn_seq))
        events = []
        for i in range(number):
            step = execution.begin(f"child-{i}", types.CHILD, Options())
            assert isinstance(step, Todo)
            new = new_child(execution, step.step_id, project.trivial_workflow(), {"steps": 1}, None, "cancel")
            events.append(step.suspension(types.CHILD, None, new.run_id, new))
        journal.append(*events, ends_turn=True)


@functools.cache
def waiting_workflow() -> Workflow:
    from django_hookflow import workflow

    @workflow(workflow_id="benchmarks.parent")
    def parent(ctx: WorkflowContext) -> int:
        return sum(ctx.step.child(f"child-{i}", project.trivial_workflow()) for i in range(ctx.data["children"]))

    return parent
