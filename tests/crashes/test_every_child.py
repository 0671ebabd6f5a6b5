"""A crash at every statement of a parent and its child: started once, joined once, and cancelled with its parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.stage import SIDES, Stage
from tests.crashes.wire import Cut, Wire

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.crashes.part")
def part(ctx: WorkflowContext) -> Any:
    ctx.step.run("work", lambda: 1)
    if ctx.data.get("more"):
        return ctx.continue_as_new({})
    return ctx.step.wait_for_signal("never") if ctx.data.get("wait") else "done"


@workflow(workflow_id="tests.crashes.whole")
def whole(ctx: WorkflowContext) -> Any:
    return [
        ctx.step.child("first", part, {"more": True}, run_id=f"{ctx.run_id}-first"),
        ctx.step.child("second", part, ctx.data, run_id=f"{ctx.run_id}-second"),
    ]


def play(stage: Stage, cut: Cut | None, data: dict[str, Any]) -> list[WorkflowRun]:
    """The runs that a fresh run comes to, cut at one place: until nothing is announced any more; if its second child
    waits for ever, somebody cancels it then."""
    stage.begin(cut)
    run_id = f"{'-'.join(data) or 'plain'}-{stage.number}"
    runs = WorkflowRun.objects.filter(run_id__startswith=run_id).order_by("run_id")
    whole.trigger(data, run_id)
    stage.deliver_all(runs)
    if data:
        stage.attempt(lambda: WorkflowRun.objects.get(run_id=run_id).cancel())
        WorkflowRun.objects.get(run_id=run_id).cancel()
        stage.deliver_all(runs)
    return list(runs)


def come_to(runs: list[WorkflowRun]) -> list[tuple[str, str, Any]]:
    """What runs came to, however they are named."""
    named = runs[0].run_id
    found = [(run.run_id.removeprefix(named), run.status, run.result) for run in runs]
    for run in runs:
        counted = [
            (event.type, event.step_id) for event in run.events.all() if event.type.startswith(("step.", "run."))
        ]
        assert len(counted) == len(set(counted)), f"{run} has something twice: {counted}"
        assert evidence_against(run) == []
    return found


@pytest.mark.parametrize("data", [{}, {"wait": True}], ids=["joined", "cancelled"])
def test_a_crash_at_every_statement_of_a_parent_and_its_child(
    hookflow: Hookflow, wire: Wire, data: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    stage = Stage(hookflow, wire)
    undisturbed = come_to(play(stage, None, data))
    statements = list(wire.statements)
    ended = "cancelled" if data else "completed"
    assert [(name, status) for name, status, _ in undisturbed] == [
        ("", ended),
        ("-first", "completed"),
        ("-first~2", "completed"),
        ("-second", ended),
    ]
    for at in range(len(statements)):
        for side in SIDES:
            cut = Cut(at, side, for_good=True)
            assert come_to(play(stage, cut, data)) == undisturbed, f"{cut}: {statements[at]:.80}"
            assert wire.has_cut, f"nothing was cut {cut}"
    record_property(
        "crash points", f"{len(statements)} statements of a parent and its child, {2 * len(statements)} crash points"
    )
