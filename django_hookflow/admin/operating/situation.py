"""A run, and what the forms and pages that act on it have to know beside its row."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from django.db.models import Min

from django_hookflow.events import log
from django_hookflow.events.database import cursor
from django_hookflow.events.types import BACKOFF, DOUBT, SLEEP
from django_hookflow.models import DeadLetterEntry

if TYPE_CHECKING:
    from django_hookflow.models import Wait, WorkflowRun


class Situation:
    """Each part is looked up once, and only if it matters."""

    def __init__(self, run: WorkflowRun) -> None:
        self.run = run
        #: The run that goes on, once an operation has come to another one.
        self.other_run_id = ""

    @cached_property
    def permitted(self) -> dict[str, log.Permitted]:
        """What may be done to the run, by the names of operations. Empty for a run that has no log."""
        return log.may(self.run.pk)

    @cached_property
    def failure(self) -> DeadLetterEntry | None:
        """The latest dead letter of the run."""
        return DeadLetterEntry.objects.filter(run_uid=self.run.pk).defer("payload").order_by("-seq").first()

    @cached_property
    def doubt(self) -> Wait | None:
        return self.run.waits.filter(kind=DOUBT).order_by("since_seq").first()

    @cached_property
    def steps(self) -> list[str]:
        """The recorded steps in the order in which they were first recorded, without those that were superseded."""
        with cursor() as c:
            c.execute("SELECT hookflow_steps_from(%(run)s, hookflow_first_step(%(run)s))", {"run": self.run.pk})
            return c.fetchone()[0] or []

    @cached_property
    def wakes_in(self) -> float:
        """After how many seconds the run goes on by itself."""
        timed = self.run.waits.filter(kind__in=(SLEEP, BACKOFF))
        due_at = timed.aggregate(due_at=Min("due_at"))["due_at"]
        with cursor() as c:
            c.execute("SELECT extract(epoch FROM %s::timestamptz - hookflow_now())::float8", [due_at])
            return max(0.0, c.fetchone()[0] or 0.0)
