"""Runs whose records have been redacted, and which are asked to go on all the same."""

from __future__ import annotations

from typing import Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.redacted")
def greet(ctx: WorkflowContext) -> Any:
    customer = ctx.step.run("look-up", lambda: {"name": "Ada", "greeting": "Dr"})
    ctx.step.run("check", lambda: ctx.data["email"])
    return ctx.step.run("greet", lambda: f"{customer['greeting']} {customer['name']}")


def failed_run(hookflow: Hookflow) -> WorkflowRun:
    hookflow.stub("greet", raises=ValueError("no paper"))
    run = hookflow.run(greet, {"email": "ada@example.com"})
    assert run.status == "failed"
    hookflow.stub("greet", "done")
    return run


def replay(hookflow: Hookflow, run: WorkflowRun) -> WorkflowRun:
    DeadLetterEntry.objects.get(is_replayed=False).replay(reason="paper is back")
    return hookflow.drive(run.run_id)


def test_a_replay_goes_on_with_what_was_retained(hookflow: Hookflow) -> None:
    run = failed_run(hookflow)
    run.redact("result.name", reason="erasure")
    run.redact("data.email", reason="erasure")
    run = replay(hookflow, run)
    assert (run.status, run.data) == ("completed", {"email": "[redacted]"})
    assert list(diff()) == []


def test_an_error_that_was_redacted_does_not_keep_its_step_from_being_tried_again(hookflow: Hookflow) -> None:
    run = failed_run(hookflow)
    for event in run.events.filter(type__in=["step.failed", "run.failed"]):
        event.redact(reason="names a customer")
    assert replay(hookflow, run).status == "completed"


def test_a_result_that_is_gone_ends_the_replay_with_a_clear_error(hookflow: Hookflow) -> None:
    run = failed_run(hookflow)
    run.events.get(type="step.completed", step_id="look-up").redact(reason="erasure")
    run = replay(hookflow, run)
    assert run.status == "failed"
    assert run.error_message == (
        "the record of step 'look-up' has been redacted, so this run cannot continue: trigger a new one"
    )
    assert list(diff()) == []


def test_so_does_trigger_data_that_is_gone(hookflow: Hookflow) -> None:
    run = failed_run(hookflow)
    run.events.get(seq=1).redact(reason="erasure")
    run = replay(hookflow, run)
    assert run.status == "failed"
    assert run.error_message.startswith("the trigger data of this run has been redacted")
