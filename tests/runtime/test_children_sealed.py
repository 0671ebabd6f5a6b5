"""What goes from one run to another where each run's values are sealed with a key of its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.sealing import CannotOpen, opened
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)

#: Runs whose key has been destroyed.
destroyed: set[UUID] = set()


class KeyForEach:
    """A seal that opens nothing that was sealed for another run."""

    def seal(self, run_uid: UUID, text: str) -> str:
        return f"{run_uid} {text[::-1]}"

    def open(self, run_uid: UUID, sealed: str) -> str:
        sealed_for, _, text = sealed.partition(" ")
        if sealed_for != str(run_uid) or run_uid in destroyed:
            raise CannotOpen(run_uid)
        return text[::-1]


@pytest.fixture(autouse=True)
def _sealed(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_SEAL = f"{__name__}.{KeyForEach.__name__}"
    destroyed.clear()


def test_a_child_s_result_is_sealed_for_its_parent(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.sealed.child")
    def child(ctx: WorkflowContext) -> Any:
        return {"secret": ctx.data["secret"]}

    @workflow(workflow_id="tests.sealed.parent")
    def parent(ctx: WorkflowContext) -> Any:
        return ctx.step.child("child", child, {"secret": "größe"})

    run = hookflow.run(parent)
    assert run.status == "completed"
    assert opened(run.run_uid, run.result) == {"secret": "größe"}
    recorded = run.step_executions.get().result
    assert opened(run.run_uid, recorded) == {"secret": "größe"}
    with pytest.raises(CannotOpen):
        opened(run.children.get().run_uid, recorded)


def test_a_child_whose_key_is_gone_has_failed(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.sealed.child")
    def child(ctx: WorkflowContext) -> int:
        destroyed.add(WorkflowRun.objects.get(run_id=ctx.run_id).run_uid)
        return 1

    @workflow(workflow_id="tests.sealed.parent")
    def parent(ctx: WorkflowContext) -> Any:
        return ctx.step.child("child", child)

    run = hookflow.run(parent)
    assert run.children.get().status == "completed"
    assert (run.status, run.error_type) == ("failed", "django_hookflow.sealing.CannotOpen")
    assert run.children.get().run_id in run.error_message


def test_signals_that_go_along_are_sealed_for_the_successor(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.sealed.rounds")
    def rounds(ctx: WorkflowContext) -> Any:
        return ctx.step.wait_for_signal("word") if ctx.data else ctx.continue_as_new({"last": True})

    rounds.trigger(run_id="r")
    WorkflowRun.objects.get(run_id="r").signal("word", {"say": "hush"})
    hookflow.drive("r")
    run = hookflow.drive("r~2")
    assert (run.status, opened(run.run_uid, run.result)) == ("completed", {"say": "hush"})
