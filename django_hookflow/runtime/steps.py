"""Steps: the named pieces of recorded work a workflow is made of.

A step is two calls: :meth:`StepManager._begin` answers its record or says that it is to be done, and
:meth:`StepManager._finish` records what came of it and ends the turn if its share is done. The public methods differ in
what they do between the two.
"""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from django.db import DatabaseError, transaction

from django_hookflow.clock import clock
from django_hookflow.events import codec, types
from django_hookflow.events.database import alias, check_transaction, is_conflict, mend_connection
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import (
    DuplicateStep,
    MisplacedStep,
    RedactedHistory,
    StepCompleted,
    StepTimedOut,
    TurnLost,
    WorkerLost,
    WorkflowError,
)
from django_hookflow.runtime import calls, failures, testing_seam
from django_hookflow.runtime.history import COMPLETED, FAILED, INTENDED, StepRecord
from django_hookflow.runtime.retries import DEFAULT_RETRY, Retry

if TYPE_CHECKING:
    from django_hookflow.runtime.turn import Turn

T = TypeVar("T")

#: Bytes; ``StepExecution.step_id`` holds 255 characters.
MAX_STEP_ID = 255
#: Seconds; a hundred years keep every date PostgreSQL and Python compute with in range.
MAX_SLEEP = 100 * 366 * 86_400


class Diverged(BaseException):
    """The code does not fit the run's history. Ends the turn: nothing is recorded but what was recorded and what was asked.

    Either the code asks for a new step before it has asked for every recorded one, or ends without having asked for one
    (``asked`` is None), or asks for a recorded step as another kind.
    """

    def __init__(self, recorded: str, asked: str | None, message: str) -> None:
        super().__init__(message)
        self.recorded = recorded
        self.asked = asked
        self.step_id = asked

    @classmethod
    def unasked(cls, recorded: str, asked: str | None) -> Diverged:
        asks = f"asks for {asked!r}, which is not recorded" if asked else "has ended"
        return cls(recorded, asked, f"step {recorded!r} is recorded, but the code has not asked for it and {asks}")

    @classmethod
    def kind(cls, step_id: str, recorded: str, asked: str) -> Diverged:
        message = f"step {step_id!r} is recorded as {recorded!r}, but the code asks for it as {asked!r}"
        return cls(step_id, step_id, message)

    def describe(self) -> dict[str, Any]:
        error = {"type": "Diverged", "message": str(self), "traceback": ""}
        return {"error": error, "recorded": self.recorded, "asked": self.asked}


class Again(Enum):
    """What a callable ``on_doubt`` returns to have the step run again, instead of an outcome for the record."""

    RETRY = "retry"


RETRY = Again.RETRY

#: ``"retry"``, ``"ask"``, or a callable that is given the step's idempotency key and returns its result or ``RETRY``.
OnDoubt = Literal["retry", "ask"] | Callable[[str], Any]

#: HTTP methods that change something on the other side (RFC 9110 §9.2.1 calls the others safe).
UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True)
class Options:
    """How a step is to be run.

    ``timeout`` is in seconds (None: no limit of ours). With ``on_doubt`` the intent is recorded before the step runs,
    and it says what to do when a crash leaves nobody to tell what came of it.
    """

    retry: Retry = DEFAULT_RETRY
    timeout: float | None = None
    on_doubt: OnDoubt | None = None


class StepManager:
    """``ctx.step``: runs steps durably. Each id is used once in a pass of the workflow."""

    def __init__(self, turn: Turn, *, retry: Retry | None = None) -> None:
        self._turn = turn
        self._options = Options(retry or DEFAULT_RETRY)
        self._asked: set[str] = set()
        self._running: list[str] = []
        self._thread = threading.get_ident()

    def run(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Calls ``fn(*args, **kwargs)`` and records its result, which is what every replay returns.

        ``fn`` runs at least once: a crash between its effect and the record runs it again. The result is JSON or one of
        the types :mod:`django_hookflow.events.codec` names. Raises WorkflowError when ``fn`` fails for good.
        """
        result: T = self._perform(step_id, "run", lambda: fn(*args, **kwargs))
        return result

    def atomic(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Like :meth:`run`, in one transaction: what ``fn`` writes through the ORM and the record commit together or not at all.

        The transaction is on the database that holds the log; ``fn``'s writes to others are not covered.
        """
        result: T = self._perform(step_id, "atomic", lambda: fn(*args, **kwargs), atomic=True)
        return result

    def call(
        self,
        step_id: str,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Makes an HTTP request durably: ``{"status_code": int, "data": parsed JSON, text or None}``.

        A status of 400 or more fails the step; 5xx and 429 are tried again. Every attempt carries the same
        ``Idempotency-Key``; that one is about to be made is recorded first if the method changes something on the other
        side (POST, PUT, PATCH, DELETE). Request headers are never recorded.
        """
        options = self._options
        if method.upper() in UNSAFE_METHODS and options.on_doubt is None:
            options = replace(options, on_doubt="retry")
        key = self.idempotency_key(step_id)
        timeout = options.timeout

        def send() -> dict[str, Any]:
            return calls.request(url, method, body, headers, idempotency_key=key, timeout=timeout)

        result: dict[str, Any] = self._perform(step_id, "call", send, options=options)
        return result

    def sleep(self, step_id: str, seconds: float) -> None:
        """Ends the turn; the run goes on when ``seconds`` have passed by the database's clock.

        Never earlier, unless somebody wakes it (``run.wake()``).
        """
        record = self._begin(step_id, "sleep")
        if record is None:
            seconds = _checked_seconds(step_id, seconds)
            event = NewEvent(types.SLEEP_STARTED, json.dumps({"seconds": seconds}), step_id)
            self._turn.append(event, ends_turn=True, next_turn=self._turn.next_turn(seconds))
            raise StepCompleted(step_id)
        if record.state == COMPLETED:
            return
        if record.wake_at is not None and self._turn.now is not None and record.wake_at > self._turn.now:
            raise self._turn.lose(f"it was woken before {record.wake_at}")
        self._turn.append_later(NewEvent(types.STEP_COMPLETED, '{"kind":"sleep","attempt":1,"result":null}', step_id))

    def options(
        self, *, retry: Retry | None = None, timeout: float | None = None, on_doubt: OnDoubt | None = None
    ) -> StepManager:
        """The same steps with a policy for the next call: ``ctx.step.options(retry=Retry(max_attempts=5)).run(…)``.

        ``timeout``, in seconds: a call gives up then; what a function returns later than that is refused and the attempt
        has failed (Python cannot stop a function, so it is not cut short; an atomic step's writes roll back).

        ``on_doubt``: record the intent before the step runs, and after a crash in it ``"retry"`` (with the same
        idempotency key), ``"ask"`` (the run is in doubt until ``run.resolve`` says what came of it), or call the function
        given, with the idempotency key, which returns the step's result or ``RETRY``.
        """
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}: it is a number of seconds above 0")
        if on_doubt is not None and on_doubt not in ("retry", "ask") and not callable(on_doubt):
            raise ValueError(f"on_doubt is {on_doubt!r}: it is 'retry', 'ask' or a callable")
        return self._with(Options(retry or self._options.retry, timeout, on_doubt))

    def idempotency_key(self, step_id: str) -> str:
        """A key for this step of this run, the same on every attempt: hand it to services that deduplicate requests."""
        return str(uuid.uuid5(self._turn.run_uid, step_id))

    def check_history_was_asked(self) -> None:
        """Raises Diverged if the workflow ends without having asked for a recorded step."""
        unasked = self._turn.history.next_unasked()
        if unasked is not None:
            raise Diverged.unasked(unasked, None)

    def _with(self, options: Options) -> StepManager:
        manager = object.__new__(StepManager)
        manager.__dict__.update(self.__dict__)
        manager._options = options
        return manager

    def _perform(
        self,
        step_id: str,
        kind: str,
        work: Callable[[], Any],
        *,
        atomic: bool = False,
        options: Options | None = None,
    ) -> Any:
        options = options or self._options
        record = self._begin(step_id, kind)
        if record is not None and record.state == COMPLETED:
            return record.result(self._turn.opened)
        if record is not None and record.state == FAILED:
            raise _recorded_error(step_id, record)
        attempt = 1 + (record.attempts if record else 0)
        work = testing_seam.substitute(step_id, work)
        if record is not None and record.state == INTENDED:
            work = self._resolve_doubt(step_id, kind, attempt, work, options)
        elif options.on_doubt is not None:
            self._turn.append(NewEvent(types.STEP_INTENDED, f'{{"kind":"{kind}","attempt":{attempt}}}', step_id))
        return self._execute(step_id, kind, attempt, work, atomic)

    def _execute(self, step_id: str, kind: str, attempt: int, work: Callable[[], Any], atomic: bool) -> Any:
        turn = self._turn
        mark = turn.mark()
        self._running.append(step_id)
        try:
            with _atomic() if atomic else nullcontext():
                began = clock.monotonic()
                result = work()
                self._check_timeout(clock.monotonic() - began)
                check_transaction() if atomic else turn.check_no_transaction()
                encoded = codec.encode(result, path="result", limit=turn.max_size)
                ended = self._finish(step_id, kind, attempt, turn.sealed(encoded))
        except (Exception, TurnLost) as error:
            failure = _failure_in(error, atomic)
            if failure is None:
                raise
            turn.rewind(mark)
            self._record_failure(step_id, kind, attempt, failure)
        finally:
            self._running.pop()
        if ended:
            raise StepCompleted(step_id)
        return codec.decode(encoded)

    def _resolve_doubt(
        self, step_id: str, kind: str, attempt: int, work: Callable[[], Any], options: Options
    ) -> Callable[[], Any]:
        """What to do about a step whose intent is recorded and whose outcome is not: the work to be done now."""
        payload = f'{{"kind":"{kind}","attempt":{attempt}}}'
        on_doubt = options.on_doubt or "retry"
        if on_doubt == "ask":
            self._turn.append(NewEvent(types.STEP_DOUBTED, payload, step_id), ends_turn=True)
            raise StepCompleted(step_id)
        if callable(on_doubt):
            outcome = on_doubt(self.idempotency_key(step_id))
            if outcome is not RETRY:
                return lambda: outcome
        lost = attempt - 1
        if attempt > options.retry.max_attempts:

            def give_up() -> Any:
                raise WorkerLost(lost)

            return give_up
        self._turn.append(NewEvent(types.STEP_INTENDED, payload, step_id))
        return work

    def _check_timeout(self, seconds: float) -> None:
        timeout = self._options.timeout
        if timeout is not None and seconds > timeout:
            raise StepTimedOut(seconds, timeout)

    def _begin(self, step_id: str, kind: str) -> StepRecord | None:
        """The record of a step, or None if the log knows nothing of it; refuses what would damage the run."""
        _check_step_id(step_id)
        problem = self._find_misplacement()
        if problem is not None:
            raise MisplacedStep(step_id, problem)
        if self._turn.is_lost():
            raise self._turn.lose("its lease is gone: another worker has taken the run over, or PostgreSQL has crashed")
        if step_id in self._asked:
            raise DuplicateStep(step_id)
        self._asked.add(step_id)
        record = self._turn.history.find(step_id)
        if record is None:
            unasked = self._turn.history.next_unasked()
            if unasked is not None:
                raise Diverged.unasked(unasked, step_id)
        elif record.is_redacted:
            raise RedactedHistory(step_id)
        elif record.kind != kind:
            raise Diverged.kind(step_id, record.kind, kind)
        return record

    def _find_misplacement(self) -> str | None:
        """Why no step can run where this is called, or None if one can."""
        if threading.get_ident() != self._thread:
            return "was called from another thread than its workflow's: steps run one after another"
        if self._running:
            return f"was called inside step {self._running[-1]!r}: call it from the workflow itself"
        if self._turn.over:
            return "was called after its turn was over: the workflow caught StepCompleted or TurnLost; let them pass"
        if self._turn.in_transaction():
            return (
                "was called inside a transaction of the workflow, with whose end alone it would be recorded: begin the "
                "transaction inside the step, or use ctx.step.atomic"
            )
        return None

    def _finish(self, step_id: str, kind: str, attempt: int, encoded: str) -> bool:
        """Records a result; whether the turn ends with it."""
        event = NewEvent(types.STEP_COMPLETED, f'{{"kind":"{kind}","attempt":{attempt},"result":{encoded}}}', step_id)
        ends = self._turn.share_is_done()
        self._turn.append(event, ends_turn=ends, next_turn=self._turn.next_turn() if ends else None)
        return ends

    def _record_failure(self, step_id: str, kind: str, attempt: int, error: Exception) -> None:
        """Records a failed attempt and ends the turn until the next one, or raises WorkflowError if there is none."""
        mend_connection()
        told = failures.describe(error)
        retry_in = self._options.retry.delay_after(error, attempt)
        payload = json.dumps({"kind": kind, "attempt": attempt, "error": told, "retry_in": retry_in})
        event = NewEvent(types.STEP_FAILED, payload, step_id)
        if retry_in is not None:
            self._turn.append(event, ends_turn=True, next_turn=self._turn.next_turn(retry_in))
            raise StepCompleted(step_id)
        self._turn.append(event)
        raise _workflow_error(step_id, attempt, told) from error


def _atomic() -> AbstractContextManager[Any]:
    return transaction.atomic(using=alias())


def _failure_in(error: Exception | TurnLost, atomic: bool) -> Exception | None:
    """The failure of the step that an error is, or None where it is the turn's.

    That the record of an atomic step conflicts with other transactions is the step's: what it has read and written before
    makes it so, and would again.
    """
    if not isinstance(error, TurnLost):
        return error
    cause = error.__cause__
    return cause if atomic and isinstance(cause, DatabaseError) and is_conflict(cause) else None


def _workflow_error(step_id: str, attempts: int, told: dict[str, Any]) -> WorkflowError:
    message = f"step {step_id!r} failed after {attempts} attempt{'s' if attempts > 1 else ''}: {told['type']}: {told['message']}"
    return WorkflowError(message, step_id=step_id, attempts=attempts, error=told)


def _recorded_error(step_id: str, record: StepRecord) -> WorkflowError:
    told = record.payload["error"]
    error = _workflow_error(step_id, record.attempts, told)
    error.__cause__ = failures.rebuild(told)
    return error


def _check_step_id(step_id: Any) -> None:
    if not isinstance(step_id, str):
        raise TypeError(f"a step id is text, not {type(step_id).__name__}: {step_id!r}")
    if not step_id or len(step_id) > MAX_STEP_ID or not step_id.isprintable():
        raise ValueError(f"step id {step_id[:80]!r} is empty, longer than {MAX_STEP_ID} or has control characters")


def _checked_seconds(step_id: str, seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        raise TypeError(f"sleep {step_id!r}: seconds is a finite number, not {seconds!r}")
    if not 0 <= seconds <= MAX_SLEEP:
        raise ValueError(f"sleep {step_id!r}: seconds is {seconds!r}, it is from 0 to {MAX_SLEEP}")
    return seconds
