"""A kit for tests of workflows: run them to their end without network and without waiting.

::

    from django_hookflow.testing import Hookflow

    class OrderTests(TestCase):
        def test_order(self):
            with Hookflow() as hookflow:
                run = hookflow.run(process_order, {"order_id": "1"})
                self.assertEqual(run.status, "completed")

Within the context no message leaves the process: :meth:`Hookflow.deliver` is the delivery, as often and in whatever
order a test likes, and :meth:`Hookflow.advance` moves time, for SQL and Python together. The log, the projections and
the effects of steps are real and in the test's database. Under pytest the fixture ``hookflow`` is the same thing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from django.test import override_settings

from django_hookflow.clock import clock
from django_hookflow.events.database import cursor
from django_hookflow.models import OutboxMessage, WorkflowEvent, WorkflowRun
from django_hookflow.registry import Workflow
from django_hookflow.runtime.turn import TurnResult, run_turn

__all__ = ["Hookflow", "NotEnding"]

_NOW = "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ {} $$"


class NotEnding(AssertionError):
    """A run has not come to an end in the turns it was given."""


class Hookflow:
    """Deliveries and time, in the hands of a test."""

    def __init__(self) -> None:
        self._settings = override_settings(DJANGO_HOOKFLOW_TRANSPORT="inline")

    def __enter__(self) -> Hookflow:
        self._settings.enable()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._settings.disable()
        if clock.offset:
            clock.offset = 0.0
            _replace_now("SELECT clock_timestamp()")

    def run(self, workflow: Workflow, data: dict[str, Any] | None = None, run_id: str | None = None) -> WorkflowRun:
        """Triggers ``workflow`` and delivers, moving time over sleeps and retries, until the run ends or waits."""
        return self.drive(workflow.trigger(data, run_id))

    def drive(self, run_id: str, *, turns: int = 100) -> WorkflowRun:
        """Delivers what a run has announced until it announces nothing more. Raises NotEnding after ``turns`` turns."""
        for _ in range(turns):
            announced = self.announced(run_id)
            if announced is None:
                return WorkflowRun.objects.get(run_id=run_id)
            self._advance_to(announced)
            self.deliver(run_id)
        raise NotEnding(f"run {run_id!r} has not ended after {turns} turns: {WorkflowRun.objects.get(run_id=run_id)}")

    def deliver(self, run_id: str, seq: int | None = None) -> TurnResult:
        """Delivers the message a run has announced, or the one announced at ``seq``, be it old or a duplicate."""
        run = WorkflowRun.objects.get(run_id=run_id)
        if seq is None:
            announced = self.announced(run_id)
            seq = announced.seq if announced else 1
        return run_turn(run.workflow_id, run_id, seq, delivery={"message_id": "test"})

    def announced(self, run_id: str) -> OutboxMessage | None:
        """The turn a run has announced, if any."""
        run = WorkflowRun.objects.get(run_id=run_id)
        return OutboxMessage.objects.filter(run_uid=run.run_uid, kind="turn").first()

    def events(self, run_id: str) -> list[WorkflowEvent]:
        """The run's history, in order."""
        return list(WorkflowEvent.objects.filter(workflow_run__run_id=run_id).order_by("seq"))

    def advance(self, seconds: float) -> None:
        """Moves time forward, for the database and for this process."""
        clock.offset += seconds
        _replace_now(f"SELECT clock_timestamp() + interval '{clock.offset!r} seconds'")

    def _advance_to(self, announced: OutboxMessage) -> None:
        with cursor() as c:
            c.execute("SELECT extract(epoch FROM %s - hookflow_now())", [announced.due_at])
            wait = float(c.fetchone()[0])
        if wait > 0:
            self.advance(wait)


def _replace_now(body: str) -> None:
    with cursor() as c:
        c.execute(_NOW.format(body))
