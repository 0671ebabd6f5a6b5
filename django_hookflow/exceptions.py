"""Errors of this package, each of which owns its message, and the two signals that end a turn early.

Errors derive from :class:`HookFlowException`. Signals derive from ``BaseException``, so that an ``except Exception``
in a workflow cannot swallow them; code that catches them all the same finds out at its next step.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import ProgrammingError

__all__ = [
    "ArchivedRun",
    "ChildConflict",
    "ChildTimedOut",
    "ConcurrentAppend",
    "DuplicateStep",
    "GroupNotEnded",
    "HistoryTooLarge",
    "HookFlowException",
    "InvalidText",
    "MisplacedStep",
    "NeedsLog",
    "NoProgress",
    "NotConfigured",
    "NotFromFixtures",
    "NotMigrated",
    "NotSerializable",
    "NotStarted",
    "NotWritable",
    "OpenTransaction",
    "OperationRefused",
    "PermissionDenied",
    "RedactedHistory",
    "RunCancelled",
    "RunConflict",
    "SignalTimedOut",
    "StepCompleted",
    "StepTimedOut",
    "TurnLost",
    "UnknownRun",
    "UnknownWorkflow",
    "WorkerLost",
    "WorkflowError",
]


class HookFlowException(Exception):
    """Base of every error this package raises."""


class WorkflowError(HookFlowException):
    """A step failed for good, or a workflow could not be started.

    Raised in the workflow, where it can be caught, by the step that failed; ``__cause__`` is what the step raised,
    on the first execution and on a replay alike (there rebuilt from the record, see ``RecordedFailure``).

    ``step_id`` (str, "" outside a step), ``attempts`` (int), ``error`` (``{"type": str, "message": str}``).
    """

    def __init__(
        self, message: str, *, step_id: str = "", attempts: int = 0, error: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.step_id = step_id
        self.attempts = attempts
        self.error = error or {}


class RecordedFailure(HookFlowException):
    """What a step raised, as recorded: the cause of a :class:`WorkflowError` in a replay.

    ``type`` is the dotted path of the original exception's class, ``str()`` its message.
    """

    def __init__(self, type: str, message: str) -> None:
        super().__init__(message)
        self.type = type


class InvalidText(WorkflowError, ValueError):
    """An id, a label, an actor or a reason is not text that the log can hold; nothing was written."""

    def __init__(self, name: str, value: Any, problem: str) -> None:
        super().__init__(f"{name} {value!r:.80} {problem}")
        self.name = name


class NotConfigured(WorkflowError, ImproperlyConfigured):
    """A setting that the requested work needs is missing."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting} is not configured: {why}")
        self.setting = setting


class NotFromFixtures(HookFlowException):
    """``loaddata`` tried to write rows of this package."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} cannot be loaded from a fixture: the log is append-only and all other tables are derived from "
            "it. Use --exclude django_hookflow with dumpdata and loaddata, and copy the log with pg_dump and "
            "pg_restore. In tests, use hookflow.make_run() from django_hookflow.testing"
        )


class NotWritable(HookFlowException, TypeError):
    """A model of the log or of a projection was written through the ORM; nothing was saved."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} is read-only in the ORM: its rows are derived from the event log. Use run.cancel() to end a run, "
            "run.redact() or event.redact() to remove a payload, and manage.py cleanup_workflows to remove old runs. "
            "In tests, use hookflow.make_run() from django_hookflow.testing"
        )


class NeedsLog(WorkflowError, CommandError):
    """The requested operation needs the event log, but the stateless mode is on."""

    def __init__(self, what: str = "this") -> None:
        super().__init__(
            f"{what} needs the event log, but DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False: set it to True, use a "
            "PostgreSQL database, and run manage.py migrate"
        )


class NotMigrated(WorkflowError, CommandError, ProgrammingError):
    """A function, table or column of this package does not exist: its migrations are not applied."""

    def __init__(self, missing: str, database: str) -> None:
        super().__init__(
            f"{missing} is missing from the database {database!r}: run manage.py migrate (if there is nothing to "
            "migrate, check this login's search_path, or whether tests run without migrations)"
        )


class RunConflict(WorkflowError):
    """``trigger(run_id=…)`` was called with the ID of a run with a different workflow or different data."""

    def __init__(self, run_id: str, workflow_id: str) -> None:
        super().__init__(
            f"run {run_id!r} already exists with a different workflow or different data than this trigger of "
            f"{workflow_id!r}: use a new run_id, or pass the same data to get the existing run"
        )


class ChildConflict(WorkflowError, ValueError):
    """``ctx.step.child(run_id=…)`` was called with the ID of a run that this step did not start."""

    def __init__(self, step_id: str, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} already exists and was not started by step {step_id!r} of this run: use another run_id, "
            "or leave it out"
        )


class ChildTimedOut(WorkflowError):
    """The child of a step did not end before the timeout. Raised in the workflow, which may catch it."""

    def __init__(self, step_id: str) -> None:
        message = f"step {step_id!r} timed out waiting for its child to end"
        super().__init__(
            message,
            step_id=step_id,
            attempts=1,
            error={"type": "django_hookflow.exceptions.ChildTimedOut", "message": message},
        )


class RunCancelled(HookFlowException):
    """A run that a step waited for has been cancelled: the cause of the step's :class:`WorkflowError`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"it was cancelled: {reason}" if reason else "it was cancelled")


class ArchivedRun(WorkflowError):
    """The run has been archived: its ID cannot be reused, and no operations on it are possible."""

    def __init__(self, run_id: str, asked: str | None = None) -> None:
        super().__init__(
            f"run {run_id!r} has been archived and its ID cannot be reused: use a new run_id"
            if asked is None
            else (
                f"cannot {asked} run {run_id!r}: it has been archived and its events are no longer in the log; trigger "
                "a new run instead"
            )
        )


class OperationRefused(WorkflowError):
    """The operation is not possible in the run's current state, such as cancelling a completed run."""


class PermissionDenied(HookFlowException):
    """The database role of this process lacks a required privilege."""

    def __init__(self, what: str, role: str) -> None:
        super().__init__(
            f"the database role of this process is not allowed to {what}: use a role that is a member of {role}"
        )


class RedactedHistory(WorkflowError):
    """The run cannot continue because the data of its trigger or of a step has been redacted."""

    def __init__(self, step_id: str = "") -> None:
        what = f"the record of step {step_id!r}" if step_id else "the trigger data of this run"
        super().__init__(
            f"{what} has been redacted, so this run cannot continue: trigger a new one", step_id=step_id, attempts=1
        )
        self.error = {"type": "django_hookflow.exceptions.RedactedHistory", "message": str(self), "traceback": ""}


class StepTimedOut(HookFlowException, TimeoutError):
    """A step took longer than ``ctx.step.options(timeout=…)`` allows; the result is discarded and the attempt failed."""

    def __init__(self, seconds: float, timeout: float) -> None:
        super().__init__(f"took {seconds:.3g} s, longer than its timeout of {timeout:g} s: the result is discarded")


class SignalTimedOut(WorkflowError):
    """A step did not receive its signal before the timeout. Raised in the workflow, which may catch it."""

    def __init__(self, step_id: str, name: str) -> None:
        message = f"step {step_id!r} timed out waiting for the signal {name!r}"
        super().__init__(
            message,
            step_id=step_id,
            attempts=1,
            error={"type": "django_hookflow.exceptions.SignalTimedOut", "message": message},
        )


class NoProgress(HookFlowException):
    """Several turns in a row made no progress: their workers were lost, or their events could not be recorded."""

    def __init__(self, turns: int) -> None:
        super().__init__(
            f"{turns} turns in a row made no progress: their workers were lost, or the database rejected their events; "
            "see the workers' logs for the reasons"
        )


class WorkerLost(HookFlowException):
    """Every attempt lost its worker: it was killed from outside or by the work itself."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"the worker was lost {attempts} times in a row: the step will not be retried")


class UnknownWorkflow(WorkflowError):
    """No workflow is registered under this id in this process."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(
            f"no workflow is registered as {workflow_id!r}: workflows are imported from the workflows.py of each "
            "installed app; import the module that defines it, or restore its old ID with @workflow(workflow_id=…)"
        )


class UnknownRun(HookFlowException):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run has the ID {run_id!r}")
        self.run_id = run_id


class ConcurrentAppend(HookFlowException):
    """The log of a run has moved on since the caller read it; nothing was written."""

    def __init__(self, run_uid: Any, expected: int | None, actual: int | None) -> None:
        super().__init__(f"run {run_uid} is at seq {actual}, expected {expected}")
        self.expected = expected
        self.actual = actual


class NotSerializable(HookFlowException, TypeError):
    """A value cannot be recorded so that it comes back equal. ``path`` says where, as in ``result["lines"][3]``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} cannot be recorded: {problem}")
        self.path = path


class HistoryTooLarge(HookFlowException):
    """In the stateless mode: a run's history is larger than a message may be."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the history of the run is {size:,} bytes, more than the {limit:,} that fit in a message "
            "(DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE, Django's DATA_UPLOAD_MAX_MEMORY_SIZE): store large values elsewhere "
            "and record a reference, or set DJANGO_HOOKFLOW_PERSISTENCE_ENABLED to True"
        )


class NotStarted(WorkflowError):
    """In the stateless mode: the first message of a run was not accepted, so there is no run."""

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(f"run {run_id!r} was not started because its message could not be published: {problem}")


class DuplicateStep(HookFlowException):
    """A workflow used the same step ID twice."""

    def __init__(self, step_id: str) -> None:
        super().__init__(
            f"step {step_id!r} was called twice in the same workflow: give each step a unique ID, for example "
            f"f'{step_id}-{{i}}' in a loop"
        )


class GroupNotEnded(HookFlowException):
    """The result of a step in a group was read inside the with block, before the step had started."""

    def __init__(self, step_id: str) -> None:
        super().__init__(
            f"step {step_id!r} has no result yet: the steps of a group start at the end of the with block, so read "
            "results after the block, and call steps that depend on other results after the group"
        )


class MisplacedStep(HookFlowException):
    """A step was called where no step can run: inside another step or a transaction, in another thread, or after its turn was over."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what} {problem}")


class OpenTransaction(HookFlowException):
    """A step or a workflow opened a transaction and did not close it: its writes were rolled back."""

    def __init__(self) -> None:
        super().__init__(
            "a transaction was opened manually and not closed, so its writes were rolled back: use ctx.step.atomic, "
            "or transaction.atomic() inside the step"
        )


class StepCompleted(BaseException):
    """Ends a turn that has done its share of the work. This is not an error; workflows must not catch it.

    ``step_id`` names the step with which the turn ended; everything up to it is recorded, the next turn announced.
    """

    def __init__(self, step_id: str) -> None:
        super().__init__(f"the turn ends with step {step_id!r}")
        self.step_id = step_id


class TurnLost(BaseException):
    """Ends a turn whose run went on without it: another worker took it over, or an operator ended it."""
