"""What is called wrongly is refused where it is called, by a message that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


def step_in_a_loop(ctx: WorkflowContext) -> Any:
    async def work() -> Any:
        return ctx.step.run("inside", str, 1)

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda ctx: ctx.step.options(retry=5).run("step", str), "retry must be a django_hookflow.Retry, not 5"),
        (lambda ctx: ctx.step.call("step", "http://localhost/", method=None), "step 'step': method must be text"),
        (lambda ctx: ctx.step.call("step", "http://localhost/", method=b"GET"), "not b'GET'"),
        (lambda ctx: ctx.continue_as_new([1]), "the data of a run must be a dict, not list"),
        (step_in_a_loop, "step 'inside' was called in an event loop that the workflow runs itself"),
    ],
)
def test_is_refused(hookflow: Hookflow, call: Callable[[Any], Any], problem: str) -> None:
    @workflow(workflow_id="tests.misuse", retry=Retry(max_attempts=1))
    def misuse(ctx: WorkflowContext) -> Any:
        return call(ctx)

    run = hookflow.run(misuse)
    assert run.status == "failed"
    assert problem in run.error_message
    assert hookflow.history(run.run_id) == ["run.triggered", "run.failed"]
