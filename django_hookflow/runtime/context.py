"""What a workflow function is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_hookflow.runtime.children import Continuation, encoded_data

if TYPE_CHECKING:
    from django_hookflow.runtime.steps import StepManager


class WorkflowContext:
    """``data`` the run was triggered with, its ``run_id`` and ``workflow_id``, and ``step``, which does the work."""

    def __init__(self, data: dict[str, Any], run_id: str, workflow_id: str, step: StepManager) -> None:
        self.data = data
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.step = step

    def continue_as_new(self, data: dict[str, Any] | None = None) -> Continuation:
        """What a workflow returns to end its run and have a new one, with ``data``, go on in its place.

        ``return ctx.continue_as_new({...})``, for loops without end: the log of each run stays short. The new run has this
        one's label, subjects and timeout, and is sent the signals that no step has taken. Raises as ``trigger`` does.
        """
        self.step.check_has_log("ctx.continue_as_new")
        return Continuation(encoded_data(data))

    def __repr__(self) -> str:
        return f"<WorkflowContext {self.workflow_id} {self.run_id}>"
