"""Workflows made up by hypothesis: a run's data is its plan, and its steps do, fail and wait as the plan says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import WorkflowError
from tests.testapp.models import LedgerEntry

MAX_ATTEMPTS = 3
#: What runs are sent, and wait for.
SIGNAL = "word"
#: Seconds; runs of the second workflow fail then, wherever they stand.
TIMEOUT = 500

#: ``fails``: how many executions fail at first; more than MAX_ATTEMPTS, and the step fails for good until it is replayed.
#: ``fatal``: with an error that is not tried again. ``caught``: the workflow goes on without the step.
steps = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            [
                *("run", "atomic", "atomic", "sleep", "ask", "again", "look"),
                *("child", "child", "signal", "signal", "call", "call"),
            ]
        ),
        "fails": st.sampled_from([0, 0, 0, 0, 1, 2, 4]),
        "fatal": st.sampled_from([False, False, True]),
        "caught": st.sampled_from([False, False, True]),
    }
)
plans = st.lists(steps, min_size=1, max_size=4)

#: How often each step's function was called, by run and step: what the outside world remembers of a run.
executions: Counter[tuple[str, str]] = Counter()


class Unreachable(ConnectionError):
    """A failure that passes."""


def work(run_id: str, step_id: str, step: dict[str, Any]) -> str:
    """A result that tells this execution from every other of the step."""
    executions[run_id, step_id] += 1
    done = executions[run_id, step_id]
    if done <= step["fails"]:
        raise ValueError("wrong") if step["fatal"] else Unreachable("no answer")
    return f"{step_id}, execution {done}"


def write(run_id: str, step_id: str, step: dict[str, Any]) -> int:
    """Writes first and may fail then: so what fails leaves a row that has to roll back. The row's id is the result."""
    entry = LedgerEntry.objects.create(account=run_id, reference=step_id, amount=1)
    work(run_id, step_id, step)
    return int(entry.pk)


async def work_later(run_id: str, step_id: str, step: dict[str, Any]) -> str:
    await asyncio.sleep(0)
    return work(run_id, step_id, step)


def take(ctx: WorkflowContext, step_id: str, step: dict[str, Any], work: Callable[..., Any] = work) -> Any:
    kind, arguments = step["kind"], (ctx.data.get("for", ctx.run_id), step_id, step)
    if kind == "child":  # however many children the step has had, their step fails so often and no more
        inner = {**step, "kind": ["run", "sleep", "ask"][step["fails"] % 3]}
        return ctx.step.child(step_id, plan, {"steps": [inner], "for": f"{ctx.run_id} {step_id}"})
    if kind == "call":  # what comes of it the machine says, in the reports it makes
        return ctx.step.options(offload=True, timeout=20).call(step_id, f"{ctx.data['url']}/{step_id}", "POST")
    if kind == "sleep":
        return ctx.step.sleep(step_id, seconds=30)
    if kind == "signal":
        return ctx.step.wait_for_signal(step_id, SIGNAL, timeout=45, default=None)
    if kind == "atomic":
        return ctx.step.atomic(step_id, write, *arguments)
    if kind == "ask":
        return ctx.step.options(on_doubt="ask").run(step_id, work, *arguments)
    if kind == "again":
        return ctx.step.options(on_doubt="retry").run(step_id, work, *arguments)
    if kind == "look":
        return ctx.step.options(on_doubt=lambda key: f"found under {key}").run(step_id, work, *arguments)
    return ctx.step.run(step_id, work, *arguments)


def follow(ctx: WorkflowContext) -> list[Any]:
    results: list[Any] = []
    for step in ctx.data["steps"]:
        step_id = f"{len(results)}-{step['kind']}"
        try:
            results.append(take(ctx, step_id, step))
        except WorkflowError:
            if not step["caught"]:
                raise
            results.append("caught")
    return results


async def follow_at_once(ctx: WorkflowContext) -> list[Any]:
    """The same steps, all of them awaited together."""

    async def branch(number: int, step: dict[str, Any]) -> Any:
        try:
            return await take(ctx, f"{number}-{step['kind']}", step, work_later)
        except WorkflowError:
            if not step["caught"]:
                raise
            return "caught"

    return await asyncio.gather(*(branch(*each) for each in enumerate(ctx.data["steps"])))


def follow_in_group(ctx: WorkflowContext) -> list[Any]:
    """The same steps, all of them in one group, worked on by the thread of the turn, as this process simulates many."""
    with ctx.step.parallel(max_workers=1, on_error="collect") as group:
        asked: Any = SimpleNamespace(step=group, data=ctx.data, run_id=ctx.run_id)
        handles = [take(asked, f"{number}-{step['kind']}", step) for number, step in enumerate(ctx.data["steps"])]
    results: list[Any] = []
    for step, handle in zip(ctx.data["steps"], handles, strict=True):
        try:
            results.append(handle.result())
        except WorkflowError:
            if not step["caught"]:
                raise
            results.append("caught")
    return results


policy = Retry(max_attempts=MAX_ATTEMPTS, first_delay=10, factor=2, jitter=0)
plan = workflow(workflow_id="tests.crashes.plan", retry=policy)(follow)
plan_at_once = workflow(workflow_id="tests.crashes.plan_at_once", retry=policy)(follow_at_once)
plan_in_group = workflow(workflow_id="tests.crashes.plan_in_group", retry=policy)(follow_in_group)
timed_plan = workflow(workflow_id="tests.crashes.timed_plan", retry=policy, timeout=TIMEOUT)(follow)
