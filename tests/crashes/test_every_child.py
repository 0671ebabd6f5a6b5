"""A crash at every statement of a parent and its child: started once, joined once, and cancelled with its parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import Lease, OutboxMessage, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.wire import Cut, Side, Wire

pytestmark = pytest.mark.django_db(transaction=True)

SIDES: tuple[Side, ...] = ("before", "after")


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


class Stage:
    """A parent and its children, delivered message by message, with time moved to where each is due."""

    def __init__(self, hookflow: Hookflow, wire: Wire) -> None:
        self.hookflow, self.wire, self.number = hookflow, wire, 0

    def play(self, cut: Cut | None, data: dict[str, Any]) -> list[WorkflowRun]:
        """The runs that a fresh run comes to, cut at one place: until nothing is announced any more; if its second child
        waits for ever, somebody cancels it then."""
        self.wire.start_over(cut)
        self.number += 1
        run_id = f"{'-'.join(data) or 'plain'}-{self.number}"
        whole.trigger(data, run_id)
        self._deliver_all(run_id)
        if data:
            self._attempt(lambda: bool(WorkflowRun.objects.get(run_id=run_id).cancel()))
            WorkflowRun.objects.get(run_id=run_id).cancel()
            self._deliver_all(run_id)
        return self._runs(run_id)

    def _runs(self, run_id: str) -> list[WorkflowRun]:
        return list(WorkflowRun.objects.filter(run_id__startswith=run_id).order_by("run_id"))

    def _deliver_all(self, run_id: str) -> None:
        for _ in range(60):
            messages = OutboxMessage.objects.filter(run_uid__in=[run.pk for run in self._runs(run_id)])
            message = messages.order_by("send_at").first()
            if message is None:
                return
            self._wait_for(message)
            run = WorkflowRun.objects.get(pk=message.run_uid)
            self._attempt(lambda: receive(message.kind, run.workflow_id, run.run_id, message.seq))  # noqa: B023 - it is called at once
        raise AssertionError(f"{run_id} is stuck: {self._runs(run_id)}")

    def _attempt(self, work: Callable[[], object]) -> None:
        connection.close()
        with self.wire.watched():
            try:
                work()
            except (OperationalError, InterfaceError):
                pass  # there will be another
        if self.wire.has_cut:
            connection.close()

    def _wait_for(self, message: OutboxMessage) -> None:
        lease = Lease.objects.filter(run_uid=message.run_uid).first()
        with connection.cursor() as c:
            c.execute(
                "SELECT extract(epoch FROM greatest(%s::timestamptz, %s::timestamptz) - hookflow_now())::float8",
                [message.send_at if message.kind == "ended" else message.due_at, lease.expires_at if lease else None],
            )
            wait = c.fetchone()[0] or 0
        if wait > 0:
            self.hookflow.advance(wait)


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
    undisturbed = come_to(stage.play(None, data))
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
            assert come_to(stage.play(cut, data)) == undisturbed, f"{cut}: {statements[at]:.80}"
            assert wire.has_cut, f"nothing was cut {cut}"
    record_property(
        "crash points", f"{len(statements)} statements of a parent and its child, {2 * len(statements)} crash points"
    )
