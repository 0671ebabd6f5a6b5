"""A step as a workflow asks for it: how it is to be run, what is recorded of it or to be done, and what that came to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from django.db import DatabaseError

from django_hookflow.events import codec, types
from django_hookflow.events.log import NewEvent, NewRun
from django_hookflow.exceptions import RedactedHistory, StepCompleted, TurnLost, WorkflowError
from django_hookflow.runtime import failures
from django_hookflow.runtime.history import COMPLETED, StepRecord
from django_hookflow.runtime.retries import DEFAULT_RETRY, Retry

if TYPE_CHECKING:
    from django_hookflow.runtime.execution import Execution


class Again(Enum):
    """Returned by an ``on_doubt`` callable to run the step again, instead of returning its outcome."""

    RETRY = "retry"


RETRY = Again.RETRY

#: ``"retry"``, ``"ask"``, or a callable that is given the step's idempotency key and returns its result or ``RETRY``.
OnDoubt = Literal["retry", "ask"] | Callable[[str], Any]


@dataclass(frozen=True)
class Options:
    """How a step is to be run.

    ``timeout`` is in seconds (None: no limit of ours). With ``on_doubt`` the intent is recorded before the step runs,
    and it says what to do when a crash leaves nobody to tell what came of it. ``offload``: the transport makes a call's
    request, if it can.
    """

    retry: Retry = DEFAULT_RETRY
    timeout: float | None = None
    on_doubt: OnDoubt | None = None
    offload: bool = False


@dataclass(frozen=True)
class StepOutcome:
    """What an attempt of a step has come to: the events that record it, none if they are recorded; then one of three.

    It completed with ``value``, or failed for good, which ``error`` says, or it ``is_waiting``: for what it is about, or for
    the next attempt.
    """

    events: tuple[NewEvent, ...] = ()
    value: Any = None
    error: Exception | None = None
    is_waiting: bool = False

    def is_of(self, wait: str) -> bool:
        """Whether it is a wait of this kind."""
        return self.is_waiting and json.loads(self.events[-1].facts)["kind"] == wait

    def result(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value


@dataclass
class Recorded:
    """A step that has come to an end."""

    execution: Execution
    step_id: str
    record: StepRecord

    def value(self) -> Any:
        """What the step returned. Raises WorkflowError if it failed for good."""
        self.execution.newest = max(self.execution.newest, self.record.seq)
        if self.record.state == COMPLETED:
            return self.record.result(self.execution.opened)
        failure = self.record.failure()
        error = workflow_error(self.step_id, self.record.attempts, failure)
        error.__cause__ = failures.rebuild(failure)
        raise error


@dataclass
class Todo:
    """An attempt of a step that is to be made.

    ``is_intended`` says that its intent is to be recorded first; ``is_last`` is set once it is recorded as the last of its
    turn.
    """

    execution: Execution
    step_id: str
    kind: str
    attempt: int
    options: Options
    is_intended: bool = False
    is_last: bool = False
    #: The log knows nothing of it.
    is_new: bool = False
    #: The kind of its wait, if one stands.
    waits_for: str = ""
    #: Of a step of a group: what its wait is waited for by, together with others.
    scope: str | None = None

    @property
    def is_waiting(self) -> bool:
        return bool(self.waits_for)

    @property
    def key(self) -> str:
        return self.execution.idempotency_key(self.step_id)

    def intend(self) -> None:
        """Records that the attempt begins, before it does what is not to be repeated blindly."""
        self.execution.append(self._event(types.STEP_INTENDED, of=self.options.retry.max_attempts))

    def complete(self, value: Any, took: float) -> Any:
        """Records what the step returned and answers the decoded record. ``took`` is how many seconds it worked.

        Raises NotSerializable, and DatabaseError when the database refuses the record: both are failures of the attempt.
        """
        return self.record(self.completion(value, took))

    def completion(self, value: Any, took: float) -> StepOutcome:
        """What is to be recorded of a step that returned ``value``. Raises NotSerializable."""
        encoded = self.execution.encoded(value)
        event = self._completed(facts_of_completion(self.kind, self.attempt, took), self.execution.sealed(encoded))
        return StepOutcome((event,), codec.decode(encoded))

    def record(self, outcome: StepOutcome) -> Any:
        """Records what a step has come to, or that it waits; the turn goes on unless it waits or its share is done."""
        if outcome.is_waiting:
            self._end_turn(outcome)
        execution = self.execution
        is_alone = not execution.in_flight and not execution.held
        self.is_last = execution.share.is_done_with_next() and is_alone
        execution.append(*outcome.events, ends_turn=self.is_last, goes_on=self.is_last)
        execution.newest = execution.journal.seq
        return outcome.value

    def end_turn_if_last(self) -> None:
        """Raises StepCompleted if the turn has taken on its share; called once the record is committed."""
        if self.is_last:
            raise StepCompleted(self.step_id)

    def fail(self, error: Exception, took: float) -> NoReturn:
        """Records that the attempt failed: ends the turn until the next one, or raises WorkflowError if there is none."""
        outcome = self.failure(error, took)
        try:
            if outcome.error is None:
                self.execution.end_turn_with(self.step_id, *outcome.events)
            self.leave(outcome)
        except DatabaseError as refusal:
            raise self.lose_failure(refusal) from refusal
        raise outcome.error

    def leave(self, outcome: StepOutcome) -> None:
        """Has it recorded with what comes next that the step failed for good; at once where a lost worker would leave a doubt."""
        self.execution.leave(*outcome.events)
        if self.options.on_doubt is not None:
            self.execution.record_left()

    def lose_failure(self, refusal: DatabaseError) -> TurnLost:
        """What to raise when the database refuses to record that the attempt failed."""
        why = f"the database rejected the failure of step {self.step_id!r}: {refusal}"
        return self.execution.journal.lose(why)

    def lose_doubt(self, refusal: DatabaseError) -> TurnLost:
        """What to raise when it refuses to record a doubt, which a failed attempt would make forgotten."""
        return self.execution.journal.lose(f"the database rejected the doubt: {refusal}")

    def failure(self, error: Exception, took: float) -> StepOutcome:
        """What is to be recorded of an attempt that failed: the wait for the next, or else the end of the step."""
        self.execution.journal.mend()
        failure = failures.describe(error)
        retry = self.options.retry
        retry_in = retry.delay_after(error, self.attempt)
        facts: dict[str, Any] = {"of": retry.max_attempts, "took": round(took, 6)}
        if retry_in is not None:
            facts["retry_in"] = retry_in
        event = self._event(types.STEP_FAILED, payload_of(failure), **facts, **cause_of(failure, self.step_id))
        if retry_in is not None:
            return StepOutcome((event, self.suspension(types.BACKOFF, retry_in)), is_waiting=True)
        raised = workflow_error(self.step_id, self.attempt, failure)
        raised.__cause__ = error
        return StepOutcome((event,), error=raised)

    def signal(self, name: str, seconds: float | None) -> StepOutcome:
        """Takes the oldest signal of this name that no step has taken, or else waits for one."""
        signal = self.execution.history.next_signal(name)
        if signal is None:
            return self.waiting(types.SIGNAL, seconds, name)
        if signal.payload is None:
            raise RedactedHistory(self.step_id)
        self.execution.history.take(signal)
        value = json.dumps(json.loads(signal.payload)["value"], ensure_ascii=False)
        facts = {"kind": self.kind, "attempt": self.attempt, "took": 0, "by": signal.seq}
        decoded = codec.untag(self.execution.opened(json.loads(value)))
        return StepOutcome((self._completed(json.dumps(facts), value),), decoded)

    def waiting(
        self,
        wait: str,
        seconds: float | None = None,
        key: str | None = None,
        starts: NewRun | None = None,
        *,
        until: str | None = None,
    ) -> StepOutcome:
        """A wait of this kind that begins.

        If it ends by itself, it does after so many seconds, or at the moment ``until``. ``key`` names what it is for;
        ``starts`` is a run that begins with it.
        """
        return StepOutcome((self.suspension(wait, seconds, key, starts, until),), is_waiting=True)

    def _end_turn(self, outcome: StepOutcome) -> NoReturn:
        """Begins a wait and ends the turn."""
        try:
            self.execution.end_turn_with(self.step_id, *outcome.events)
        except DatabaseError as refusal:
            if outcome.is_of(types.DOUBT):
                raise self.lose_doubt(refusal) from refusal
            self.fail(refusal, 0.0)

    def _completed(self, facts: str, result: str) -> NewEvent:
        return NewEvent(types.STEP_COMPLETED, self.step_id, facts, f'{{"result":{result}}}')

    def suspension(
        self,
        wait: str,
        seconds: float | None,
        key: str | None = None,
        starts: NewRun | None = None,
        until: str | None = None,
    ) -> NewEvent:
        """The event that begins a wait of this kind, see :meth:`waiting`."""
        scope = types.TASK if self.execution.held is not None else self.scope
        given = {"seconds": seconds, "until": until, "key": key, "scope": scope}
        facts = {
            "kind": wait,
            "attempt": self.attempt,
            **{name: fact for name, fact in given.items() if fact is not None},
        }
        if wait in (types.DOUBT, types.CALLBACK):
            facts["step_kind"] = self.kind
        if wait == types.DOUBT:
            facts["attempt"] = self.attempt - 1
        return NewEvent(types.STEP_SUSPENDED, self.step_id, json.dumps(facts), starts=starts)

    def _event(self, type_: str, payload: str | None = None, **facts: Any) -> NewEvent:
        facts = {"kind": self.kind, "attempt": self.attempt, **facts}
        return NewEvent(type_, self.step_id, json.dumps(facts), payload)


class Doubt(Todo):
    """A step whose intent is recorded and whose outcome is not: a worker was lost in it. ``attempt`` is the next one."""


def facts_of_completion(kind: str, attempt: int, took: float) -> str:
    """What json.dumps would make of them, at a fraction of its price: there is one such event for each step."""
    return f'{{"kind": "{kind}", "attempt": {attempt}, "took": {round(took, 6)!r}}}'


def workflow_error(step_id: str, attempts: int, failure: dict[str, Any]) -> WorkflowError:
    """What a step that has failed for good raises in its workflow."""
    times = f"{attempts} attempt{'s' if attempts > 1 else ''}"
    where = f"run {failure['run_id']!r}: " if "run_id" in failure else ""
    message = f"step {step_id!r} failed after {times}: {where}{failure['type']}: {failure['message']}"
    return WorkflowError(message, step_id=step_id, attempts=attempts, error=failure)


def cause_of(failure: Mapping[str, Any], step_id: str | None) -> dict[str, str]:
    """The facts of a failure: its type, and the fingerprint that failures of the same cause share."""
    error_type = failure["type"]
    return {"error": error_type, "fingerprint": failures.fingerprint(step_id, error_type, failure["message"])}


def payload_of(failure: Mapping[str, Any]) -> str:
    """The payload of a failure: all that is said of it but its type."""
    return json.dumps({key: value for key, value in failure.items() if key != "type"})
