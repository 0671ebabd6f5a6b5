"""Runs that are delivered message by message, through the wire, with time moved to where each is due."""

from __future__ import annotations

from collections.abc import Callable

from django.db import InterfaceError, OperationalError, connection
from django.db.models import QuerySet

from django_hookflow.models import Lease, OutboxMessage, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.crashes.wire import Cut, Side, Wire

SIDES: tuple[Side, ...] = ("before", "after")


class Stage:
    """``number`` is that of the latest play."""

    def __init__(self, hookflow: Hookflow, wire: Wire) -> None:
        self.hookflow, self.wire, self.number = hookflow, wire, 0

    def begin(self, cut: Cut | None) -> None:
        """A play begins, which is cut there."""
        self.wire.start_over(cut)
        self.number += 1

    def deliver_all(self, runs: QuerySet[WorkflowRun], between: Callable[[], object] = lambda: None) -> None:
        """Delivers what the runs have announced until they announce nothing any more, with ``between`` before each."""
        for _ in range(60):
            between()
            announced = OutboxMessage.objects.filter(run_uid__in=list(runs.values_list("pk", flat=True)))
            message = announced.order_by("send_at").first()
            if message is None:
                return
            self._wait_for(message)
            run = WorkflowRun.objects.get(pk=message.run_uid)
            self.attempt(lambda: receive(message.kind, run.workflow_id, run.run_id, message.seq))  # noqa: B023 - it is called at once
        raise AssertionError(f"stuck: {list(runs)}")

    def attempt(self, work: Callable[[], object]) -> None:
        """Does something on a connection of its own that may be cut."""
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
