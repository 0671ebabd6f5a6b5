"""What a workflow function is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_hookflow.runtime.steps import StepManager


class WorkflowContext:
    """``data`` the run was triggered with, its ``run_id`` and ``workflow_id``, and ``step``, which does the work."""

    def __init__(self, data: dict[str, Any], run_id: str, workflow_id: str, step: StepManager) -> None:
        self.data = data
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.step = step

    def __repr__(self) -> str:
        return f"<WorkflowContext {self.workflow_id} {self.run_id}>"
