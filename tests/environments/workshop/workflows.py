"""The workflows of these tests."""

from __future__ import annotations

import asyncio
from typing import Any

from django_hookflow import Retry, workflow
from django_hookflow.runtime.context import WorkflowContext
from tests.environments.workshop.work import (
    enter,
    enter_and_wait,
    enter_later,
    fail_at_first,
    lock_both,
    pass_gate,
    read_ledger,
)

QUICK = Retry(max_attempts=10, first_delay=0.1, factor=1, jitter=0)


@workflow(workflow_id="ten-steps")
def ten_steps(ctx: WorkflowContext) -> list[str]:
    """Four plain steps, three atomic ones, a sleep, one that is tried twice, and one that reads what they wrote."""
    ctx.step.run("plain-1", enter, ctx.run_id, "plain-1", ctx.data.get("seconds", 0))
    ctx.step.atomic("atomic-1", enter, ctx.run_id, "atomic-1")
    ctx.step.run("plain-2", enter, ctx.run_id, "plain-2")
    ctx.step.atomic("atomic-2", enter, ctx.run_id, "atomic-2")
    ctx.step.sleep("rest", seconds=0.2)
    ctx.step.options(retry=QUICK).run("flaky", fail_at_first, ctx.run_id, "flaky")
    ctx.step.run("plain-3", enter, ctx.run_id, "plain-3")
    ctx.step.atomic("atomic-3", enter, ctx.run_id, "atomic-3")
    ctx.step.run("plain-4", enter, ctx.run_id, "plain-4")
    return ctx.step.run("read", read_ledger, ctx.run_id)


@workflow(workflow_id="waiting")
def waiting(ctx: WorkflowContext) -> None:
    """Its first step, of the kind asked for, writes and waits at the gate "written"."""
    do = getattr(ctx.step, ctx.data["kind"])
    do("work", enter_and_wait, ctx.run_id, "work")
    ctx.step.atomic("after", enter, ctx.run_id, "after")


@workflow(workflow_id="waiting-between")
def waiting_between(ctx: WorkflowContext) -> None:
    """Waits between two steps."""
    ctx.step.atomic("before", enter, ctx.run_id, "before")
    pass_gate("between")
    ctx.step.atomic("after", enter, ctx.run_id, "after")


@workflow(workflow_id="locking")
def locking(ctx: WorkflowContext) -> None:
    ctx.step.options(retry=QUICK).atomic("lock", lock_both, ctx.run_id)
    ctx.step.atomic("after", enter, ctx.run_id, "after")


@workflow(workflow_id="sleeping")
def sleeping(ctx: WorkflowContext) -> None:
    ctx.step.atomic("before", enter, ctx.run_id, "before")
    ctx.step.sleep("night", seconds=ctx.data["seconds"])
    ctx.step.atomic("after", enter, ctx.run_id, "after")


@workflow(workflow_id="toiling")
def toiling(ctx: WorkflowContext) -> None:
    """Its first step waits at the gate "written"; nine more take a quarter of a second each."""
    ctx.step.atomic("step-0", enter_and_wait, ctx.run_id, "step-0")
    for number in range(1, 10):
        ctx.step.atomic(f"step-{number}", enter, ctx.run_id, f"step-{number}", 0.25)


@workflow(workflow_id="toiling-in-a-group")
def toiling_in_a_group(ctx: WorkflowContext) -> None:
    """The same steps, two at a time."""
    with ctx.step.parallel(max_workers=2) as group:
        group.atomic("step-0", enter_and_wait, ctx.run_id, "step-0")
        for number in range(1, 10):
            group.atomic(f"step-{number}", enter, ctx.run_id, f"step-{number}", 0.25)


@workflow(workflow_id="toiling-async")
async def toiling_async(ctx: WorkflowContext) -> None:
    """The same steps, awaited together."""
    step: Any = ctx.step
    first = step.atomic("step-0", enter_and_wait, ctx.run_id, "step-0")
    others = (step.atomic(f"step-{n}", enter, ctx.run_id, f"step-{n}", 0.25) for n in range(1, 10))
    await asyncio.gather(first, *others)


@workflow(workflow_id="many-at-once")
async def many_at_once(ctx: WorkflowContext) -> None:
    """Three branches of an async step, an atomic one, and one that asks the ORM from async code; one of them sleeps."""
    step: Any = ctx.step

    async def branch(name: str) -> None:
        await step.run(f"async-{name}", enter_later, ctx.run_id, f"async-{name}")
        if name == "b":
            await step.sleep("rest", seconds=0.2)
        await step.atomic(f"atomic-{name}", enter, ctx.run_id, f"atomic-{name}")

    await asyncio.gather(*map(branch, "abc"))
