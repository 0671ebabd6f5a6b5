"""Runs of the real engine in a time that stands still and is moved by hand, so that their story is always the same."""

from __future__ import annotations

import datetime
import io
import os
import socket
from typing import TYPE_CHECKING, Any

from django.core.management import call_command

from django_hookflow.models import OutboxMessage, WorkflowRun
from tests.log.calls import ask

if TYPE_CHECKING:
    from django_hookflow.registry import Workflow
    from django_hookflow.testing import Hookflow

START = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)


class Stage:
    """A run on a clock of its own. Steps take the seconds that :meth:`work` is given; turns begin when they are due."""

    def __init__(self, hookflow: Hookflow) -> None:
        self.hookflow = hookflow
        self.seconds = 0.0
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Sets the time of the database, in seconds after the start. The test's transaction takes it back."""
        self.seconds = seconds
        now = (START + datetime.timedelta(seconds=seconds)).isoformat()
        ask(
            "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
            f"AS $$ SELECT timestamptz '{now}' $$"
        )

    def pass_time(self, seconds: float) -> None:
        self.set(self.seconds + seconds)

    def work(self, seconds: float) -> None:
        """What a step does: takes so long."""
        self.pass_time(seconds)

    def trigger(self, workflow: Workflow, run_id: str, **options: Any) -> WorkflowRun:
        workflow.trigger({"order": 1}, run_id, **options)
        return WorkflowRun.objects.get(run_id=run_id)

    def deliver(self, run_id: str, late: float = 0.0) -> str:
        """Delivers the announced turn, so many seconds after it was due, and answers what it came to."""
        message = OutboxMessage.objects.get(run_uid=WorkflowRun.objects.get(run_id=run_id).pk, kind="turn")
        due = (message.due_at - START).total_seconds() if message.due_at else self.seconds
        self.set(max(self.seconds, due) + late)
        return self.hookflow.deliver(run_id).answer

    def drive(self, run_id: str, late: float = 0.0) -> WorkflowRun:
        """Delivers until nothing is announced any more."""
        while self.hookflow.announced(run_id) is not None:
            self.deliver(run_id, late)
        return WorkflowRun.objects.get(run_id=run_id)


def worker_renamed(text: str) -> str:
    """``text`` with the name that this process has as a worker as it would be on every machine."""
    return text.replace(f"{socket.gethostname()}:{os.getpid()}", "web-1:42")


def timeline(*arguments: Any, **options: Any) -> str:
    """What ``hookflow_timeline`` writes."""
    out = io.StringIO()
    call_command("hookflow_timeline", *arguments, stdout=out, **options)
    return worker_renamed(out.getvalue())
