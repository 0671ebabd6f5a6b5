"""A dispatch as a durable step: recorded once, retried as GitHub's status says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import WorkflowContext, dispatch_workflow, trigger_github_workflow, workflow
from django_hookflow.models import DeadLetterEntry
from django_hookflow.testing import Hookflow
from tests.github.server import RUN, TOKEN, GitHub, say

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.release")
def release(ctx: WorkflowContext) -> Any:
    run = ctx.step.run("deploy", dispatch_workflow, workflow_file="deploy.yml", ref=ctx.data["ref"])
    ctx.step.sleep("settle", seconds=60)
    return run


@trigger_github_workflow(workflow_file="deploy.yml")
def build(number: int) -> int:
    return number + 1


@workflow(workflow_id="tests.build")
def building(ctx: WorkflowContext) -> Any:
    return ctx.step.run("build", build, 41)


@pytest.fixture
def hookflow() -> Iterator[Hookflow]:
    with Hookflow() as kit:
        yield kit


def test_a_dispatch_is_recorded_and_not_repeated_by_a_replay(github: GitHub, hookflow: Hookflow) -> None:
    run = hookflow.run(release, {"ref": "main"})

    assert (run.status, run.result) == ("completed", RUN)
    assert len(github.requests) == 1  # although the turn after the sleep went through the step again


def test_a_decorated_function_is_a_step_too(github: GitHub, hookflow: Hookflow) -> None:
    run = hookflow.run(building)

    assert (run.status, run.result) == ("completed", 42)
    assert len(github.requests) == 1


def test_a_rate_limit_is_waited_for_as_long_as_github_asks(github: GitHub, hookflow: Hookflow) -> None:
    github.answers.append(say(403, "You have exceeded a secondary rate limit", Retry_After="90"))

    run = hookflow.run(release, {"ref": "main"})

    (failed,) = run.events.filter(type="step.failed")
    assert failed.facts["retry_in"] == 90
    assert (run.status, len(github.requests)) == ("completed", 2)


def test_what_github_rejects_is_not_tried_again(github: GitHub, hookflow: Hookflow) -> None:
    run = hookflow.run(release, {"ref": "gone"})

    entry = DeadLetterEntry.objects.get(run_id=run.run_id)
    assert (run.status, len(github.requests)) == ("failed", 1)
    assert "No ref found for: gone" in entry.error_message
    assert TOKEN not in entry.error_traceback
