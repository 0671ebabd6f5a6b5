"""A turn, from the claim to what comes next."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from django_hookflow import registry, wrappers
from django_hookflow.app_version import app_version
from django_hookflow.conf import conf
from django_hookflow.events import codec, log, types
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import (
    NoProgress,
    NotSerializable,
    RedactedHistory,
    StepCompleted,
    TurnLost,
    WorkflowError,
)
from django_hookflow.runtime import failures, joining
from django_hookflow.runtime.async_steps import run_async
from django_hookflow.runtime.children import Continuation, successor_of
from django_hookflow.runtime.context import WorkflowContext
from django_hookflow.runtime.execution import Diverged, Execution
from django_hookflow.runtime.history import History
from django_hookflow.runtime.journal import LogJournal, TurnJournal, check_no_transaction
from django_hookflow.runtime.retries import DEFAULT_RETRY
from django_hookflow.runtime.step import cause_of, payload_of
from django_hookflow.runtime.steps import StepManager, first_options
from django_hookflow.wrappers import Work, WorkerGone

if TYPE_CHECKING:
    from django_hookflow.registry import Workflow

logger = logging.getLogger("django_hookflow.turn")

#: Turns in a row that may be lost with their workers or handed back, none getting any further, until the run is taken to be
#: the cause.
MAX_LOST_TURNS = 10
#: Seconds after which a message about a deadline that has not come yet is delivered again.
EARLY_SECONDS = 1.0


@dataclass(frozen=True)
class TurnResult:
    """What a delivery came to.

    ``answer``: ``completed`` and ``failed`` (the run ended), ``suspended`` (it waits, or the next turn is announced),
    ``diverged``, ``lost`` (the run went on without this worker, or could not be recorded); or, when no turn was run, the
    claim's answer: ``finished``, ``stale``, ``busy``, ``early``, ``unknown``. ``retry_after`` is set, in seconds, exactly
    when a new delivery of the same message is wanted. ``dead`` says why the message is one to be kept by who delivers it.
    """

    answer: str
    retry_after: float | None = None
    dead: str = ""


def run_turn(
    workflow_id: str, run_id: str, seq: int, *, delivery: dict[str, Any] | None = None, is_retry: bool = False
) -> TurnResult:
    """Runs the turn that the message (``workflow_id``, ``run_id``, ``seq``) announces, if it is still to be run.

    ``delivery`` is what is known of the message's journey, kept with the turn's first event. ``is_retry`` says that an
    earlier delivery of the message failed: a run that is busy then is likely to be a dead worker's, and another delivery
    is wanted when its lease has run out. Raises UnknownWorkflow, and InvalidSetting for what cannot be put around it, before
    anything is touched; errors of the workflow never escape, they are what the run came to.
    """
    registry.get_workflow(workflow_id)
    wrappers.loaded()
    worker = _worker()
    facts = _facts_of_turn(worker, delivery or {})
    claim = log.claim(workflow_id, run_id, seq, owner=worker, lease_seconds=conf.lease_seconds, facts=facts)
    if claim.answer == "failed" and claim.run_uid is not None:
        joining.hand_on(claim.run_uid)
    if claim.answer != "run":
        is_wanted = claim.answer == "early" or (claim.answer == "busy" and is_retry)
        return TurnResult(claim.answer, claim.later if is_wanted else None)
    return run_claimed(workflow_id, run_id, claim)


def run_claimed(workflow_id: str, run_id: str, claim: log.Claim) -> TurnResult:
    """Runs the turn that has been begun so, as :func:`run_turn` says."""
    with LogJournal(workflow_id, run_id, claim) as journal:
        return Turn(journal, registry.get_workflow(workflow_id)).run()


def beginning(transport: str) -> log.Beginning | None:
    """What a relay says that runs turns itself, to begin them as it takes their messages; None where none could be run."""
    worker = _worker()
    try:
        wrappers.loaded()
        facts = _facts_of_turn(worker, {"transport": transport})
    except Exception:  # what a project says of its turns cannot be had, as each of them will say
        return None
    return log.Beginning(list(registry.registered_workflows()), worker, conf.lease_seconds, facts)


def _worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _facts_of_turn(worker: str, delivery: dict[str, Any]) -> dict[str, Any]:
    facts = {"worker": worker, "transport": conf.transport, **delivery}
    version = app_version()
    return facts if version is None else {**facts, "version": version}


def end_overdue(workflow_id: str, run_id: str) -> TurnResult:
    """Fails a run whose deadline has passed, for the message that says so."""
    answer = log.expire(workflow_id, run_id)
    return TurnResult(answer, EARLY_SECONDS if answer == "early" else None)


class Turn:
    """One pass of the workflow over the run's history, and what the run came to by it."""

    def __init__(self, journal: TurnJournal, workflow: Workflow) -> None:
        self.journal = journal
        self.workflow = workflow
        self.history = History(journal.history(), journal.turn_seq, workflow.renamed_steps)
        self.execution = Execution(journal, self.history)

    def run(self) -> TurnResult:
        """Calls the workflow function and records what it came to."""
        try:
            return self._run()
        except StepCompleted:
            return TurnResult("suspended")
        except TurnLost:
            return self._hand_back()
        except WorkerGone:
            raise
        except BaseException:
            self._hand_back()
            raise

    def _run(self) -> TurnResult:
        try:
            if self.history.lost_turns >= MAX_LOST_TURNS:
                return self._give_up()
            try:
                result = self._call_workflow()
            except Exception as error:
                return self._fail(error)
            return self._complete(result)
        except Diverged as divergence:
            return self._diverge(divergence)
        except DatabaseError as refusal:
            raise self.journal.lose(f"the database rejected the end of the turn: {refusal}") from refusal

    def _call_workflow(self) -> Any:
        if self.history.data is None:
            raise RedactedHistory
        data = codec.untag(self.execution.opened(self.history.data))
        steps = StepManager(self.execution, first_options(self.workflow.retry))
        context = WorkflowContext(data, self.journal.run_id, self.workflow.workflow_id, steps, self.execution)
        attempt, label = self.history.turn_failures + 1, self.history.label
        work = Work(
            "turn", context.workflow_id, context.run_id, "turn", None, attempt=attempt, label=label, data=context.data
        )
        self.execution.turn = work if wrappers.loaded() else None
        result = wrappers.around(work, partial(self._call, context, steps))()
        check_no_transaction(self.journal)
        return result

    def _call(self, context: WorkflowContext, steps: StepManager) -> Any:
        if not self.workflow.is_async:
            return self.workflow(context)

        def call(of_async: Any) -> Any:
            context.step = of_async
            return self.workflow(context)

        return run_async(self.execution, steps, call)

    def _complete(self, result: Any) -> TurnResult:
        if self.journal.over:
            return self._caught_signal()
        self.execution.check_history_was_asked()
        try:
            event = self._completion(result)
        except NotSerializable as error:
            return self._fail(error)
        try:
            self.execution.append(event, ends_turn=True)
        except DatabaseError as refusal:
            return self._fail(refusal)
        return TurnResult("completed")

    def _completion(self, result: Any) -> NewEvent:
        if not isinstance(result, Continuation):
            recorded = self.execution.sealed(self.execution.encoded(result))
            return NewEvent(types.RUN_COMPLETED, payload=f'{{"result":{recorded}}}')
        successor = successor_of(self.execution, self.workflow.workflow_id, result)
        facts = json.dumps({"continued_by": successor.run_id})
        return NewEvent(types.RUN_COMPLETED, None, facts, '{"result":null}', starts=successor)

    def _fail(self, error: Exception) -> TurnResult:
        """The workflow raised: tried again if what it raised is not a step's last word and may pass, else the end."""
        if self.journal.over:
            return self._caught_signal()
        self.journal.mend()
        failure = failures.describe(error)
        if isinstance(error, WorkflowError) and error.step_id:
            return self._end_failed(error.step_id, error.attempts, {**error.error, "message": failure["message"]})
        attempt = self.history.turn_failures + 1
        retry = self.workflow.retry or DEFAULT_RETRY
        retry_in = retry.delay_after(error, attempt)
        if retry_in is None:
            return self._end_failed(None, attempt, failure)
        facts = {"attempt": attempt, "of": retry.max_attempts, "retry_in": retry_in, **cause_of(failure, None)}
        event = NewEvent(types.TURN_FAILED, facts=json.dumps(facts), payload=payload_of(failure))
        self.execution.append(event, ends_turn=True)
        return TurnResult("suspended")

    def _caught_signal(self) -> TurnResult:
        """The workflow caught the signal that ended its turn and went on: what it came to then does not count."""
        return self._hand_back() if self.journal.loss else TurnResult("suspended")

    def _give_up(self) -> TurnResult:
        """Fails a run that gets nowhere, most likely because it takes its worker down with it, before it takes another."""
        lost = self.history.lost_turns
        return self._end_failed(None, lost, failures.describe(NoProgress(lost)))

    def _end_failed(self, step_id: str | None, attempts: int, failure: dict[str, Any]) -> TurnResult:
        facts = {"attempts": attempts, **cause_of(failure, step_id)}
        event = NewEvent(types.RUN_FAILED, step_id, json.dumps(facts), payload_of(failure))
        self.execution.append(event, ends_turn=True)
        self._log("failed", failure["message"])
        return TurnResult("failed")

    def _diverge(self, divergence: Diverged) -> TurnResult:
        self.execution.append(divergence.event(), ends_turn=True)
        self._log("diverged", divergence)
        return TurnResult("diverged")

    def _hand_back(self) -> TurnResult:
        with suppress(TurnLost):
            self.execution.record_left()
        return TurnResult("lost", self.journal.release(self.history.lost_turns))

    def _log(self, what: str, why: object) -> None:
        logger.error("hookflow: run %s of %s %s: %s", self.journal.run_id, self.workflow.workflow_id, what, why)
