"""One turn of a run, from the claim to what comes next."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError, connections

from django_hookflow import registry, sealing
from django_hookflow.clock import clock
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.events import codec, log, types
from django_hookflow.events.database import alias, mend_connection, transaction_depth
from django_hookflow.events.log import NewEvent, NextTurn
from django_hookflow.exceptions import (
    ConcurrentAppend,
    NotSerializable,
    OpenTransaction,
    RedactedHistory,
    StepCompleted,
    TurnLost,
    WorkerLost,
    WorkflowError,
)
from django_hookflow.models import WorkflowRun, WorkflowRunStatus
from django_hookflow.runtime import failures, stopping, testing_seam
from django_hookflow.runtime.context import WorkflowContext
from django_hookflow.runtime.history import History
from django_hookflow.runtime.lease import Heartbeat
from django_hookflow.runtime.retries import DEFAULT_RETRY
from django_hookflow.runtime.steps import Diverged, StepManager

if TYPE_CHECKING:
    from django_hookflow.registry import Workflow

logger = logging.getLogger("django_hookflow.turn")

#: Events that say what a step came to, which the log takes also after an operator's event.
OUTCOMES = frozenset({types.STEP_COMPLETED, types.STEP_FAILED})
#: Turns in a row that may be lost with their workers, none getting any further, until the run is taken to be the cause.
MAX_LOST_TURNS = 10
#: Seconds after which a run that a turn had to let go is taken up again.
HAND_BACK_SECONDS = 1.0
#: The seq in the message that announces the end of a run's time; events count from 1.
DEADLINE_SEQ = 0


@dataclass(frozen=True)
class TurnResult:
    """What a delivery came to.

    ``answer``: ``completed`` and ``failed`` (the run ended), ``suspended`` (the next turn is announced), ``diverged``,
    ``lost`` (the run went on without this worker, or could not be recorded); or, when no turn was run, the claim's
    answer: ``finished``, ``stale``, ``busy``, ``early``, ``unknown``. ``retry_after`` is set, in seconds, exactly when
    a new delivery of the same message is wanted.
    """

    answer: str
    retry_after: float | None = None


def run_turn(
    workflow_id: str, run_id: str, seq: int, *, delivery: dict[str, Any] | None = None, is_retry: bool = False
) -> TurnResult:
    """Runs the turn that the message (``workflow_id``, ``run_id``, ``seq``) announces, if it is still to be run.

    ``delivery`` is what is known of the message's journey, kept with the turn's first event. ``is_retry`` says that an
    earlier delivery of the message failed: a run that is busy then is likely to be a dead worker's, and another delivery
    is wanted when its lease has run out. Raises UnknownWorkflow before anything is touched; errors of the workflow never
    escape, they are what the run came to.
    """
    workflow = registry.get_workflow(workflow_id)
    if seq == DEADLINE_SEQ:
        return _expire(workflow_id, run_id)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    claim = log.claim(
        workflow_id,
        run_id,
        seq,
        owner=worker,
        lease_seconds=conf.lease_seconds,
        delivery={"worker": worker, "transport": conf.transport, **(delivery or {})},
    )
    if claim.answer != "run":
        return TurnResult(claim.answer, _wanted_after(claim, is_retry))
    assert claim.run_uid is not None
    turn = Turn(claim.run_uid, run_id, workflow, claim)
    with Heartbeat(turn.run_uid, turn.turn_seq, conf.lease_seconds) as heartbeat:
        turn.is_lost = heartbeat.lost.is_set
        return turn.run()


def _wanted_after(claim: log.Claim, is_retry: bool) -> float | None:
    """Seconds after which another delivery is wanted of a message that has just been answered without a turn."""
    is_wanted = claim.answer == "early" or (claim.answer == "busy" and is_retry)
    if not is_wanted or claim.due_at is None or claim.now is None:
        return None
    return (claim.due_at - claim.now).total_seconds()


def _without_announcement(outcome: NewEvent) -> NewEvent:
    """The outcome of a step without the next attempt it was to announce: when that is, the operator has to say now."""
    payload = json.loads(outcome.payload)
    if payload.get("retry_in") is None:
        return outcome
    return replace(outcome, payload=json.dumps({**payload, "announced": False}))


def _expire(workflow_id: str, run_id: str) -> TurnResult:
    answer = log.expire(workflow_id, run_id)
    return TurnResult(answer, HAND_BACK_SECONDS if answer == "early" else None)


class Turn:
    """The work on one run between a claim and what comes next: what it knows of the log, and how it adds to it."""

    def __init__(self, run_uid: UUID, run_id: str, workflow: Workflow, claim: log.Claim) -> None:
        self.run_uid = run_uid
        self.run_id = run_id
        self.workflow = workflow
        self.turn_seq = self.seq = claim.turn_seq
        self.now = claim.now
        self.history = History(claim.history, workflow.renamed_steps)
        self.over = False
        self._loss: TurnLost | None = None
        self.is_lost: Callable[[], bool] = lambda: False
        self._new_steps = 0
        self._ends_at = clock.monotonic() + conf.turn_budget
        self._steps_per_turn = conf.steps_per_turn
        self.max_size = conf.max_payload_size
        self._unwritten: list[NewEvent] = []
        self._depth = transaction_depth()  # 0, but for a test that is in a transaction itself

    def run(self) -> TurnResult:
        """Calls the workflow function and records what it came to."""
        steps = StepManager(self, retry=self.workflow.retry)
        try:
            if self.history.lost_turns >= MAX_LOST_TURNS:
                return self._give_up()
            try:
                context = WorkflowContext(self._read_data(), self.run_id, self.workflow.workflow_id, steps)
                result = self.workflow(context)
                self.check_no_transaction()
            except Exception as error:
                return self._fail(error)
            return self._complete(result, steps)
        except StepCompleted:
            return TurnResult("suspended")
        except Diverged as divergence:
            return self._diverge(divergence)
        except TurnLost as loss:
            return self._hand_back(loss)
        except testing_seam.WorkerGone:
            raise
        except BaseException:
            self._hand_back(None)
            raise

    def _read_data(self) -> Any:
        if self.history.data is None:
            raise RedactedHistory
        return codec.untag(self.opened(self.history.data))

    def sealed(self, encoded: str) -> str:
        """The JSON text to record for that of a value."""
        return sealing.seal(self.run_uid, encoded)

    def opened(self, value: Any) -> Any:
        """A recorded value as it was before it was sealed."""
        return sealing.opened(self.run_uid, value)

    def in_transaction(self) -> bool:
        """Whether the workflow's code has a transaction open, in which a record would not be one before its end."""
        return transaction_depth() > self._depth

    def check_no_transaction(self) -> None:
        """Raises OpenTransaction if the code that has just run has left one open."""
        if self.in_transaction():
            raise OpenTransaction

    def append(self, event: NewEvent, *, ends_turn: bool = False, next_turn: NextTurn | None = None) -> None:
        """Records ``event``; a message for ``next_turn`` goes out once the surrounding transaction, if any, commits.

        Raises TurnLost when the run has gone on without this turn, when an operator has ended or held it, or when the
        log cannot be reached. What a step outside a transaction came to is recorded before that, unless another worker
        has the run; inside one it rolls back.
        """
        self.over = self.over or ends_turn
        events = [*self._unwritten, event]
        try:
            seq = self._write(events, ends_turn, next_turn)
        except (ConcurrentAppend, DatabaseError) as error:
            raise self.lose(f"{event.type} was not recorded: {error}") from error
        self._unwritten = []
        spoken, self.seq = seq - self.seq - len(events), seq
        if next_turn is not None:
            message = Message(self.workflow.workflow_id, self.run_id, seq, self.run_uid, 1, next_turn.delay)
            outbox.publish_after_commit(message, using=alias())
        elif spoken:
            self._heed_operator()

    def _write(self, events: list[NewEvent], ends_turn: bool, next_turn: NextTurn | None) -> int:
        try:
            return self._append_or_reconnect(events, ends_turn, next_turn)
        except ConcurrentAppend as refusal:
            if events[-1].type not in OUTCOMES or not ends_turn or connections[alias()].in_atomic_block:
                raise
            # The turn may not end on a history it does not know; what has happened is to be recorded all the same.
            events[-1] = _without_announcement(events[-1])
            self.seq = log.append(self.run_uid, self.seq, events)
            raise self.lose("an operator has spoken meanwhile") from refusal

    def _append_or_reconnect(self, events: list[NewEvent], ends_turn: bool, next_turn: NextTurn | None) -> int:
        """Appends, once more on a new connection if this one is dead: idle while a step was long, it may have been cut.

        Should the first attempt have been committed before its answer was lost, the fence refuses the second.
        """
        try:
            return log.append(self.run_uid, self.seq, events, ends_turn=ends_turn, next_turn=next_turn)
        except (OperationalError, InterfaceError):
            if not mend_connection():
                raise
            return log.append(self.run_uid, self.seq, events, ends_turn=ends_turn, next_turn=next_turn)

    def _heed_operator(self) -> None:
        """Ends the turn if what an operator said meanwhile has ended or held the run; the next step does not begin."""
        status = WorkflowRun.objects.using(alias()).values_list("status", flat=True).get(run_uid=self.run_uid)
        if status != WorkflowRunStatus.RUNNING:
            raise self.lose(f"the run is {status}")

    def lose(self, why: str) -> TurnLost:
        """What to raise when the turn cannot go on, for a reason that is not the workflow's; no step begins after it."""
        self.over = True
        self._loss = TurnLost(why)
        return self._loss

    def append_later(self, event: NewEvent) -> None:
        """Records ``event`` together with the next one: for what replay finds again by itself should that not come."""
        self._unwritten.append(event)

    def next_turn(self, delay: float = 0.0) -> NextTurn:
        return NextTurn(delay, outbox.grace(delay))

    def mark(self) -> tuple[int, list[NewEvent], bool]:
        """What to :meth:`rewind` to if a transaction around an append rolls back."""
        return self.seq, self._unwritten, self.over

    def rewind(self, mark: tuple[int, list[NewEvent], bool]) -> None:
        self.seq, self._unwritten, self.over = mark

    def share_is_done(self) -> bool:
        """Whether the step now being recorded is the last this turn takes on."""
        self._new_steps += 1
        share = self._steps_per_turn
        if stopping.is_requested():
            return True
        return clock.monotonic() >= self._ends_at or (share is not None and self._new_steps >= share)

    def _complete(self, result: Any, steps: StepManager) -> TurnResult:
        if self.over:
            return self._caught_signal()
        steps.check_history_was_asked()
        try:
            encoded = self.sealed(codec.encode(result, path="result", limit=self.max_size))
        except NotSerializable as error:
            return self._fail(error)
        self.append(NewEvent(types.RUN_COMPLETED, f'{{"result":{encoded}}}'), ends_turn=True)
        return TurnResult("completed")

    def _fail(self, error: Exception) -> TurnResult:
        """The workflow raised: tried again if what it raised is not a step's last word and may pass, else the end."""
        if self.over:
            return self._caught_signal()
        mend_connection()
        told = failures.describe(error)
        if isinstance(error, WorkflowError) and error.step_id:
            told = {**error.error, "message": told["message"]}
            return self._end_failed(error.step_id, error.attempts, told)
        attempt = self.history.turn_failures + 1
        retry_in = (self.workflow.retry or DEFAULT_RETRY).delay_after(error, attempt)
        if retry_in is None:
            return self._end_failed(None, attempt, told)
        payload = json.dumps({"attempt": attempt, "error": told, "retry_in": retry_in})
        self.append(NewEvent(types.TURN_FAILED, payload), ends_turn=True, next_turn=self.next_turn(retry_in))
        return TurnResult("suspended")

    def _caught_signal(self) -> TurnResult:
        """The workflow caught the signal that ended its turn and went on: what it came to then does not count."""
        return self._hand_back(self._loss) if self._loss else TurnResult("suspended")

    def _give_up(self) -> TurnResult:
        """Fails a run that takes its worker down with it every time, before it takes down another."""
        lost = self.history.lost_turns
        return self._end_failed(None, lost, failures.describe(WorkerLost(lost)))

    def _end_failed(self, step_id: str | None, attempts: int, told: dict[str, Any]) -> TurnResult:
        payload = json.dumps({"error": told, "attempts": attempts})
        self.append(NewEvent(types.RUN_FAILED, payload, step_id), ends_turn=True)
        logger.error("hookflow: run %s of %s failed: %s", self.run_id, self.workflow.workflow_id, told["message"])
        return TurnResult("failed")

    def _diverge(self, divergence: Diverged) -> TurnResult:
        self._unwritten = []
        payload = json.dumps(divergence.describe())
        self.append(NewEvent(types.RUN_DIVERGED, payload, divergence.step_id), ends_turn=True)
        logger.error("hookflow: run %s of %s diverged: %s", self.run_id, self.workflow.workflow_id, divergence)
        return TurnResult("diverged")

    def _hand_back(self, loss: TurnLost | None) -> TurnResult:
        """Lets the run go without deciding anything; if it is still this turn's, it is announced again at once."""
        self.over = True
        if loss is not None:
            logger.warning("hookflow: a turn of run %s ends unfinished: %s", self.run_id, loss)
        try:
            mend_connection()
            released = log.release(self.run_uid, self.turn_seq, HAND_BACK_SECONDS)
        except DatabaseError:  # then the lease runs out, and the outbox row comes due with it
            released = True
        return TurnResult("lost", HAND_BACK_SECONDS if released else None)
