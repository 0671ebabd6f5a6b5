"""One pass of a workflow over its history, and the two calls that make a step.

:meth:`Execution.begin` answers what is to be done about a step the workflow asks for: it is :class:`Recorded`, it is
:class:`Todo`, or a crash has left it in :class:`Doubt`. Whoever does the work says what came of it with
:meth:`Todo.complete`, :meth:`Todo.fail` or :meth:`Todo.suspend`. Every public method of ``ctx.step`` is a façade over these.
"""

from __future__ import annotations

import datetime
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from django.db import DatabaseError

from django_hookflow import sealing
from django_hookflow.clock import clock
from django_hookflow.conf import conf
from django_hookflow.events import codec, types
from django_hookflow.events.log import NewEvent, NewRun
from django_hookflow.exceptions import (
    DuplicateStep,
    MisplacedStep,
    RedactedHistory,
    StepCompleted,
    WorkflowError,
)
from django_hookflow.runtime import failures, stopping
from django_hookflow.runtime.history import COMPLETED, FAILED, INTENDED, SUSPENDED, History, StepRecord
from django_hookflow.runtime.retries import DEFAULT_RETRY, Retry
from django_hookflow.texts import checked_step_id

if TYPE_CHECKING:
    from django_hookflow.runtime.journal import Journal
    from django_hookflow.wrappers import Work


class Again(Enum):
    """What a callable ``on_doubt`` returns to have the step run again, instead of an outcome for the record."""

    RETRY = "retry"


RETRY = Again.RETRY

#: What a workflow says of its progress more often than this costs no commit of its own.
PROGRESS_SECONDS = 1.0

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


class Diverged(BaseException):
    """The code does not fit the run's history. Ends the turn: nothing is recorded but what was recorded and what was asked.

    Either the code asks for a new step before it has asked for every recorded one, or ends without having asked for one
    (``asked`` is None), or asks for a recorded step as another kind.
    """

    def __init__(self, recorded: str, asked: str | None, message: str) -> None:
        super().__init__(message)
        self.recorded = recorded
        self.asked = asked

    @classmethod
    def unasked(cls, recorded: str, asked: str | None) -> Diverged:
        asks = f"asks for {asked!r}, which is not recorded" if asked else "has ended"
        return cls(recorded, asked, f"step {recorded!r} is recorded, but the code has not asked for it and {asks}")

    @classmethod
    def kind(cls, step_id: str, recorded: str, asked: str) -> Diverged:
        message = f"step {step_id!r} is recorded as {recorded!r}, but the code asks for it as {asked!r}"
        return cls(step_id, step_id, message)

    def event(self) -> NewEvent:
        """What is recorded of it."""
        facts = {"recorded": self.recorded, "asked": self.asked, "error": "Diverged"}
        return NewEvent(types.RUN_DIVERGED, self.asked, json.dumps(facts), json.dumps({"message": str(self)}))


class Share:
    """How much a turn takes on: steps begun within its time, and so many at most."""

    def __init__(self) -> None:
        self._ends_at = clock.monotonic() + conf.turn_budget
        self._steps = conf.steps_per_turn
        self._done = 0
        self._lock = threading.Lock()

    def is_done_with_next(self) -> bool:
        """Whether the step now being recorded is the last one."""
        self._done += 1
        return self.is_over()

    def take(self) -> bool:
        """Whether one more step may begin, which then counts. The first one may in any case, lest a run get nowhere."""
        with self._lock:
            if self._done and self.is_over():
                return False
            self._done += 1
            return True

    def is_over(self, begun: int = 0, has_begun: bool = True) -> bool:
        """Whether no further step is to begin, with so many at work; the first of a turn always is."""
        if not has_begun and not self._done:
            return False
        if stopping.is_requested():
            return True
        return clock.monotonic() >= self._ends_at or (self._steps is not None and self._done + begun >= self._steps)


class _Running(threading.local):
    """The steps whose work is going on in this thread, the innermost last."""

    def __init__(self) -> None:
        self.steps: list[str] = []


class Execution:
    """A pass of a workflow over the history in ``journal``. Each step id is asked for once in it."""

    def __init__(self, journal: Journal, history: History) -> None:
        self.journal = journal
        self.history = history
        self.share = Share()
        self.max_size = conf.max_payload_size  # read once a turn, as the others: settings are not to change in it
        self._is_sealed = conf.seal is not None
        self._running = _Running()
        #: The turn that this pass is, where something is put around its steps.
        self.turn: Work | None = None
        #: The newest event that the workflow has been given the outcome of; 0: none.
        self.newest = 0
        #: What is to be recorded when the turn ends, where a step that waits lets others go on; None where it ends the turn.
        self.held: list[NewEvent] | None = None
        #: What the workflow said last of its progress and is not recorded; when something of the kind last was.
        self._progress: NewEvent | None = None
        self._progressed_at = clock.monotonic()
        #: In which the database may be asked, where the workflow's code runs in an event loop.
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        #: How many steps are at work beside the one that is being recorded.
        self.in_flight = 0
        self._asked: set[str] = set()
        self._links: Counter[str] = Counter()
        self._thread = threading.get_ident()

    @property
    def running(self) -> list[str]:
        """The steps whose work is going on in this thread, the innermost last."""
        return self._running.steps

    def begin(self, step_id: str, kind: str, options: Options) -> Recorded | Doubt | Todo:
        """What is to be done about a step. Raises what refuses it, and Diverged when the code does not fit the history."""
        step = self.ask(step_id, kind, options)
        if isinstance(step, Recorded):
            return step
        self.check_may_begin(step)
        if step.is_waiting and self.held is not None:
            raise StepCompleted(step_id)
        if step.is_waiting:  # an operator, say, had the run go on: nothing is settled by that
            raise self.journal.lose(f"step {step_id!r} still waits")
        return step

    def ask(self, step_id: str, kind: str, options: Options) -> Recorded | Doubt | Todo:
        """What is known of a step, which the workflow has asked for now. Raises what refuses it where it is called."""
        step_id = checked_step_id(step_id)
        self.check_may_ask(step_id)
        if step_id in self._asked:
            raise DuplicateStep(step_id)
        self._asked.add(step_id)
        record = self.history.find(step_id)
        if record is None:
            return Todo(self, step_id, kind, 1, options, is_new=True)
        if record.is_redacted:
            raise RedactedHistory(step_id)
        if record.kind not in (kind, types.IMPORTED):
            raise Diverged.kind(step_id, record.kind, kind)
        if record.state in (COMPLETED, FAILED):
            return Recorded(self, step_id, record)
        step = Doubt if record.state == INTENDED else Todo
        return step(
            self,
            step_id,
            kind,
            record.attempts + 1,
            options,
            waits_for=record.waits_for if record.state == SUSPENDED else "",
        )

    def check_may_begin(self, step: Todo) -> None:
        """Raises Diverged if this is a new step and a recorded one has not been asked for, and what keeps it from working."""
        unasked = self.history.next_unasked() if step.is_new else None
        if unasked is not None:
            raise Diverged.unasked(unasked, step.step_id)
        self.journal.check_may_work(step.step_id)

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> None:
        """Records events, and what the workflow has said of its progress with them."""
        progress, self._progress = self._progress, None
        if progress is not None:
            events = progress, *events
        try:
            others = self.journal.append(*events, ends_turn=ends_turn, goes_on=goes_on)
        except BaseException:
            self._progress = progress
            raise
        if progress is not None:
            self._progressed_at = clock.monotonic()
        for event in others:
            self.history.learn(event)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """The transaction of an atomic step; what was to be recorded with it is to be recorded still if it rolls back."""
        progress = self._progress
        try:
            with self.journal.atomic():
                yield
        except BaseException:
            self._progress = progress
            raise

    def progress(self, event: NewEvent) -> None:
        """Has what the workflow says of its progress recorded with the next append, at once if the last is a second old.

        Nothing is recorded in a replay that was recorded before.
        """
        self.check_in_workflow("ctx.progress")
        said = event.facts, event.payload
        if self.journal.over or self.history.next_unasked() is not None:
            return
        if said in self.history.progressed:
            del self.history.progressed[: self.history.progressed.index(said) + 1]
            self._progress = None
            return
        self._progress = event
        if clock.monotonic() - self._progressed_at >= PROGRESS_SECONDS:
            with self.aside():
                self.append()

    def check_may_ask(self, step_id: str) -> None:
        """Raises MisplacedStep where no step can run."""
        problem = self._find_misplacement()
        if problem is not None:
            raise MisplacedStep(f"step {step_id!r}", problem)

    def end_turn_with(self, step_id: str, *events: NewEvent) -> NoReturn:
        """Records what ends the turn, or keeps it until the turn ends; raises StepCompleted."""
        if self.held is None:
            self.append(*events, ends_turn=True)
        else:
            self.held += events
        raise StepCompleted(step_id)

    def now(self) -> datetime.datetime:
        """When the newest event that the workflow has been given the outcome of was recorded; before the first, when it began."""
        with self.aside():
            return self.journal.recorded_at(self.newest)

    def check_in_workflow(self, what: str) -> None:
        """Raises MisplacedStep where ``what`` is not called from the workflow itself, so that a replay would not call it."""
        problem = self._find_other_place()
        if problem is not None:
            raise MisplacedStep(what, problem)

    def idempotency_key(self, step_id: str) -> str:
        """A key for a step of this run, the same on every attempt."""
        return str(uuid.uuid5(self.journal.run_uid, step_id))

    def link_id(self, name: str) -> str:
        """An id for the next link of this signal: the same in every replay, in which code in steps is not run again."""
        where = json.dumps([name, self.running[-1:]])
        self._links[where] += 1
        return str(uuid.uuid5(self.journal.run_uid, f"link {self._links[where]} {where}"))

    def check_history_was_asked(self) -> None:
        """Raises Diverged if the workflow ends without having asked for a recorded step."""
        unasked = self.history.next_unasked()
        if unasked is not None:
            raise Diverged.unasked(unasked, None)

    def encoded(self, value: Any) -> str:
        """The JSON text of a result. Raises NotSerializable."""
        return codec.encode(value, path="result", limit=self.max_size)

    def sealed(self, encoded: str) -> str:
        """The JSON text to record for a result's."""
        return sealing.seal(self.journal.run_uid, encoded) if self._is_sealed else encoded

    def opened(self, value: Any) -> Any:
        """A recorded value as it was before it was sealed."""
        return sealing.opened(self.journal.run_uid, value)

    def _find_misplacement(self) -> str | None:
        """Why no step can run where this is called, or None if one can."""
        problem = self._find_other_place()
        if problem is not None:
            return problem
        if self.journal.over:
            return "was called after its turn was over: the workflow caught StepCompleted or TurnLost; let them pass"
        if self.journal.is_in_transaction():
            return (
                "was called inside a transaction of the workflow, with whose end alone it would be recorded: begin the "
                "transaction inside the step, or use ctx.step.atomic"
            )
        return None

    def _find_other_place(self) -> str | None:
        if self.running:
            return f"was called inside step {self.running[-1]!r}: call it from the workflow itself"
        if threading.get_ident() != self._thread:
            return "was called from another thread than its workflow's: steps run one after another"
        return None


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
            self.execution.append(*outcome.events)
        except DatabaseError as refusal:
            why = f"the database refuses to record that step {self.step_id!r} failed: {refusal}"
            raise self.execution.journal.lose(why) from refusal
        self.execution.newest = self.execution.journal.seq
        raise outcome.error

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
        return self.taken_signal(name) or self.waiting(types.SIGNAL, seconds, name)

    def taken_signal(self, name: str) -> StepOutcome | None:
        """The oldest signal of this name that no step has taken as this one's result; None: there is none."""
        signal = self.execution.history.next_signal(name)
        if signal is None:
            return None
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
            if outcome.is_of(types.DOUBT):  # which a failed attempt would make forgotten
                raise self.execution.journal.lose(f"the database refuses to record a doubt: {refusal}") from refusal
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
