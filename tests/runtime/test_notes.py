"""Notes: what people have to say about a run, kept where everything about it is kept."""

from __future__ import annotations

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.exceptions import InvalidText
from django_hookflow.models import WorkflowRun
from django_hookflow.projections.difference import diff
from django_hookflow.testing import Hookflow
from django_hookflow.timeline import story_of

pytestmark = pytest.mark.django_db


@workflow(workflow_id="tests.noted")
def noted(ctx: WorkflowContext) -> None:
    ctx.step.sleep("wait", seconds=60)


def test_a_note_is_an_event_and_changes_nothing(hookflow: Hookflow) -> None:
    run_id = noted.trigger()
    hookflow.deliver(run_id)
    run = WorkflowRun.objects.get(run_id=run_id)

    run.note("the bank\nhas been called", actor="ada")

    note = hookflow.events(run_id)[-1]
    assert (note.type, note.actor, note.payload) == ("run.noted", "ada", {"reason": "the bank\nhas been called"})
    assert WorkflowRun.objects.get(run_id=run_id).updated_at == run.updated_at
    mark = story_of(hookflow.events(run_id)).marks[-1]
    assert (mark.type, mark.actor, mark.reason) == ("run.noted", "ada", "the bank\nhas been called")
    assert hookflow.drive(run_id).status == "completed"
    WorkflowRun.objects.get(run_id=run_id).note("and has paid")
    assert list(diff()) == []


@pytest.mark.parametrize("text", ["\x00", "\ud800", "x" * 10_001, 7])
def test_a_note_that_the_log_cannot_hold_is_refused(hookflow: Hookflow, text: str) -> None:
    run = WorkflowRun.objects.get(run_id=noted.trigger())
    with pytest.raises(InvalidText, match="reason"):
        run.note(text)
    assert run.events.count() == 1
