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
    """``loaddata`` was to write rows of this package."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} cannot be loaded from a fixture: rows of the log are in its chain of hashes, and what is folded from "
            "them follows. Call loaddata, or dumpdata before it, with --exclude django_hookflow, and take the log along "
            "with pg_dump and pg_restore; in tests, django_hookflow.testing makes runs"
        )


class NotWritable(HookFlowException, TypeError):
    """A model of the log, or of what is folded from it, was to be written through the ORM; nothing was."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} is only read through the ORM: its rows follow from the event log. To end a run use run.cancel(), to "
            "remove a payload run.redact() or event.redact(), to remove what is old manage.py cleanup_workflows; in tests, "
            "hookflow.make_run() of django_hookflow.testing makes runs"
        )


class NeedsLog(WorkflowError, CommandError):
    """The stateless mode is on, and what was asked for is a matter of the event log, which there is none of."""

    def __init__(self, what: str = "this") -> None:
        super().__init__(
            f"{what} needs the event log, and DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False: set it to True, with a "
            "PostgreSQL database, and run manage.py migrate"
        )


class NotMigrated(WorkflowError, CommandError, ProgrammingError):
    """The database has no such function, table or column of this package: its migrations are not applied there."""

    def __init__(self, missing: str, database: str) -> None:
        super().__init__(
            f"{missing} is not in the database {database!r}: run manage.py migrate. If no migration is left to apply, the "
            "search_path of this login names another schema; tests without migrations have no log"
        )


class RunConflict(WorkflowError):
    """``trigger(run_id=…)`` named a run that was started with another workflow or other data."""

    def __init__(self, run_id: str, workflow_id: str) -> None:
        super().__init__(
            f"run {run_id!r} exists and was started with another workflow or other data than this trigger of "
            f"{workflow_id!r}: use a new run_id, or the same data to get the same run"
        )


class ChildConflict(WorkflowError, ValueError):
    """``ctx.step.child(run_id=…)`` named a run that this step has not started."""

    def __init__(self, step_id: str, run_id: str) -> None:
        super().__init__(
            f"run {run_id!r} exists and was not started by step {step_id!r} of this run: choose another run_id, or none"
        )


class ChildTimedOut(WorkflowError):
    """The run that a step started did not end in the time the step had. Raised in the workflow, which may catch it."""

    def __init__(self, step_id: str) -> None:
        message = f"step {step_id!r} waited for the run it had started, which did not end in time"
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
    """The run's events have gone to an archive: its id is not used again, and nothing more can be done to it."""

    def __init__(self, run_id: str, asked: str | None = None) -> None:
        super().__init__(
            f"run {run_id!r} has been archived and its id is not used again: choose a new run_id"
            if asked is None
            else f"cannot {asked} run {run_id!r}: it has been archived, its events are no longer in the log; "
            f"trigger a new run instead"
        )


class OperationRefused(WorkflowError):
    """What was asked of a run makes no sense as it stands: cancelling a completed run, resolving what is not in doubt."""


class PermissionDenied(HookFlowException):
    """The database role this process uses has no right to what was asked."""

    def __init__(self, what: str, role: str) -> None:
        super().__init__(f"the database role of this process may not {what}: use one that is granted {role}")


class RedactedHistory(WorkflowError):
    """The run cannot go on: what a step, or its trigger, recorded has been redacted."""

    def __init__(self, step_id: str = "") -> None:
        what = f"the record of step {step_id!r}" if step_id else "the data the run was triggered with"
        super().__init__(
            f"{what} has been redacted, so the run cannot be replayed; start a new one", step_id=step_id, attempts=1
        )
        self.error = {"type": "django_hookflow.exceptions.RedactedHistory", "message": str(self), "traceback": ""}


class StepTimedOut(HookFlowException, TimeoutError):
    """A step took longer than ``ctx.step.options(timeout=…)`` allows; its result is refused, the attempt has failed."""

    def __init__(self, seconds: float, timeout: float) -> None:
        super().__init__(f"took {seconds:.3g} s and was given {timeout:g} s: its result is refused")


class SignalTimedOut(WorkflowError):
    """Nobody sent the signal that a step waited for, in the time it had. Raised in the workflow, which may catch it."""

    def __init__(self, step_id: str, name: str) -> None:
        message = f"step {step_id!r} waited for the signal {name!r}, which did not come in time"
        super().__init__(
            message,
            step_id=step_id,
            attempts=1,
            error={"type": "django_hookflow.exceptions.SignalTimedOut", "message": message},
        )


class NoProgress(HookFlowException):
    """So many turns in a row came to nothing: their workers were lost, or could not have recorded what they did."""

    def __init__(self, turns: int) -> None:
        super().__init__(
            f"{turns} turns in a row got no further: their workers were lost, or the database refused their records; "
            "the workers' logs have the reasons"
        )


class WorkerLost(HookFlowException):
    """Every attempt ended with the loss of its worker: killed from outside, or by the work itself."""

    def __init__(self, attempts: int) -> None:
        super().__init__(f"the worker was lost {attempts} times in a row: not tried again")


class UnknownWorkflow(WorkflowError):
    """No workflow is registered under this id in this process."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(
            f"no workflow is registered as {workflow_id!r}: workflows are imported from the workflows.py of each "
            f"installed app; import the module that defines it, or give back its old id with @workflow(workflow_id=…)"
        )


class UnknownRun(HookFlowException):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"no run has the id {run_id!r}")


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
            f"the history of the run has {size:,} bytes, more than the {limit:,} that go into a message "
            "(DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE, Django's DATA_UPLOAD_MAX_MEMORY_SIZE): store what is large elsewhere and "
            "record a reference, or set DJANGO_HOOKFLOW_PERSISTENCE_ENABLED to True"
        )


class NotStarted(WorkflowError):
    """In the stateless mode: the first message of a run was not taken, so there is no run."""

    def __init__(self, run_id: str, problem: str) -> None:
        super().__init__(f"run {run_id!r} was not started, its message could not be published: {problem}")


class DuplicateStep(HookFlowException):
    """A workflow asked for the same step id twice in one pass."""

    def __init__(self, step_id: str) -> None:
        super().__init__(
            f"step {step_id!r} was asked for twice in one pass of the workflow: each step needs an id of its own, "
            f"in a loop for instance f'{step_id}-{{i}}'"
        )


class GroupNotEnded(HookFlowException):
    """The result of a step of a group was asked for inside the block, at whose end the steps begin."""

    def __init__(self, step_id: str) -> None:
        super().__init__(
            f"step {step_id!r} has no result yet: the steps of a group begin when its block ends, so ask behind it, and "
            "what needs the result of another step comes after the group"
        )


class MisplacedStep(HookFlowException):
    """A step was called where no step can run: inside another step or a transaction, in another thread, or after its turn was over."""

    def __init__(self, step_id: str, problem: str) -> None:
        super().__init__(f"step {step_id!r} {problem}")


class OpenTransaction(HookFlowException):
    """A step, or a workflow, began a transaction by hand and did not end it: what it wrote there is rolled back."""

    def __init__(self) -> None:
        super().__init__(
            "a transaction was begun by hand and not ended, so what was written in it is rolled back: use ctx.step.atomic, "
            "or transaction.atomic() inside the step"
        )


class StepCompleted(BaseException):
    """Ends a delivery whose share of the work is done. Not an error, and not for workflows to catch.

    ``step_id`` names the step with which the turn ended; everything up to it is recorded, the next turn announced.
    """

    def __init__(self, step_id: str) -> None:
        super().__init__(f"the turn ends with step {step_id!r}")
        self.step_id = step_id


class TurnLost(BaseException):
    """Ends a turn whose run went on without it: another worker took it over, or an operator ended it."""
