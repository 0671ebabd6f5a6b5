"""The workflows that stories are about."""

from __future__ import annotations

from typing import Any

from django_hookflow import Retry, WorkflowContext, workflow

#: Seconds that a step takes, and what its attempts raise, in order; set by each test.
work: Any = None
troubles: list[Exception] = []
#: Steps that the code knows no more, or by another name.
renamed: dict[str, str] = {}


def charge() -> Any:
    work(2)
    if troubles:
        raise troubles.pop(0)
    return "ch_1"


@workflow(workflow_id="tests.timeline.order", retry=Retry(max_attempts=3, first_delay=5, factor=4, jitter=0))
def order(ctx: WorkflowContext) -> str:
    ctx.step.run(renamed.get("validate", "validate"), lambda: work(0.4))
    ctx.step.run("charge", charge)
    ctx.step.sleep("wait-for-payment", seconds=600)
    ctx.step.atomic("ship", lambda: work(3))
    return "shipped"


@workflow(workflow_id="tests.timeline.asking")
def asking(ctx: WorkflowContext) -> str:
    ctx.step.run("validate", lambda: work(0.4))
    charged: str = ctx.step.options(on_doubt="ask").run("charge", charge)
    return charged


@workflow(workflow_id="tests.timeline.between", retry=Retry(max_attempts=2, first_delay=5, factor=4, jitter=0))
def between(ctx: WorkflowContext) -> None:
    ctx.step.run("validate", lambda: work(0.4))
    work(1)
    if troubles:
        raise troubles.pop(0)


@workflow(workflow_id="tests.timeline.urgent", timeout=300)
def urgent(ctx: WorkflowContext) -> None:
    ctx.step.run("charge", charge)
    ctx.step.sleep("wait-for-payment", seconds=600)
