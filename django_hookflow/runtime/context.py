"""What a workflow function is given."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django_hookflow.runtime.children import Continuation, encoded_data
from django_hookflow.runtime.signal_links import DEFAULT_EXPIRY, SignalLink, end_of
from django_hookflow.texts import checked_signal_id, checked_signal_name

if TYPE_CHECKING:
    from django_hookflow.runtime.execution import Execution
    from django_hookflow.runtime.steps import StepManager


class WorkflowContext:
    """``data`` the run was triggered with, its ``run_id`` and ``workflow_id``, and ``step``, which does the work."""

    def __init__(
        self, data: dict[str, Any], run_id: str, workflow_id: str, step: StepManager, execution: Execution
    ) -> None:
        self.data = data
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.step = step
        self._execution = execution

    def signal_url(
        self,
        name: str,
        *,
        expires: float | datetime.timedelta | datetime.datetime = DEFAULT_EXPIRY,
        id: str | None = None,
    ) -> str:
        """A signed URL with which a person or a system sends this run the signal ``name``, once.

        GET shows a page with a button; POST sends the signal, whose value is the JSON or the form that is posted. ``expires``
        is seconds or a timedelta from ``ctx.now()`` on, by default seven days, or an aware datetime. Each call makes a link
        of its own, which is the same in every replay; links with one ``id`` can be used once between them.

        Raises NotConfigured without DJANGO_HOOKFLOW_DOMAIN, and NeedsLog in the stateless mode.
        """
        execution = self._execution
        execution.journal.check_has_log("ctx.signal_url")
        name, given = checked_signal_name(name), checked_signal_id(id)
        until = end_of(expires, self.now())
        return SignalLink(execution.journal.run_uid, name, given or execution.link_id(name), until).url()

    def now(self) -> datetime.datetime:
        """When the run was triggered: its uid says so (RFC 9562 §5.7)."""
        milliseconds = self._execution.journal.run_uid.int >> 80
        return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)

    def continue_as_new(self, data: dict[str, Any] | None = None) -> Continuation:
        """What a workflow returns to end its run and have a new one, with ``data``, go on in its place.

        ``return ctx.continue_as_new({...})``, for loops without end: the log of each run stays short. The new run has this
        one's label, subjects and timeout, and is sent the signals that no step has taken. Raises as ``trigger`` does.
        """
        self._execution.journal.check_has_log("ctx.continue_as_new")
        return Continuation(encoded_data(data))

    def __repr__(self) -> str:
        return f"<WorkflowContext {self.workflow_id} {self.run_id}>"
