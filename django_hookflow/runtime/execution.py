"""One pass of a workflow over its history, and the two calls that make a step.

:meth:`Execution.begin` answers what is to be done about a step the workflow asks for: it is :class:`Recorded`, it is
:class:`Todo`, or a crash has left it in :class:`Doubt`. Whoever does the work says what came of it with
:meth:`Todo.complete`, :meth:`Todo.fail` or :meth:`Todo.suspend`. Every public method of ``ctx.step`` is a façade over these.
"""

from __future__ import annotations

import datetime
import json
import os
import threading
import uuid
from asyncio import _get_running_loop
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import DatabaseError

from django_hookflow import sealing
from django_hookflow.clock import clock
from django_hookflow.conf import conf
from django_hookflow.events import codec, types
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import (
    DuplicateStep,
    MisplacedStep,
    RedactedHistory,
    StepCompleted,
    TurnLost,
)
from django_hookflow.runtime.history import COMPLETED, FAILED, INTENDED, SUSPENDED, History
from django_hookflow.runtime.share import Share
from django_hookflow.runtime.step import Doubt, Options, Recorded, Todo
from django_hookflow.texts import checked_step_id

if TYPE_CHECKING:
    from django_hookflow.runtime.journal import Journal
    from django_hookflow.wrappers import Work


#: What a workflow says of its progress more often than this costs no commit of its own.
PROGRESS_SECONDS = 1.0


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
        asks = f"calls {asked!r}, which is not recorded" if asked else "has ended"
        return cls(recorded, asked, f"step {recorded!r} is recorded, but the code did not call it and {asks}")

    @classmethod
    def kind(cls, step_id: str, recorded: str, asked: str) -> Diverged:
        message = f"step {step_id!r} is recorded as {recorded!r}, but the code calls it as {asked!r}"
        return cls(step_id, step_id, message)

    def event(self) -> NewEvent:
        """What is recorded of it."""
        facts = {"recorded": self.recorded, "asked": self.asked, "error": "Diverged"}
        return NewEvent(types.RUN_DIVERGED, self.asked, json.dumps(facts), json.dumps({"message": str(self)}))


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
        #: What is to be recorded with the next append: that steps were cancelled, or failed for good, which mostly is the run's
        #: failure, too.
        self._left: list[NewEvent] = []
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
        self.record_left()

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> None:
        """Records events, and with them what was left and what the workflow has said of its progress."""
        left, progress = self._left, self._progress
        self._left, self._progress = [], None
        said = () if progress is None else (progress,)
        try:
            others = self.journal.append(*left, *said, *events, ends_turn=ends_turn, goes_on=goes_on)
        except TurnLost:  # the journal has recorded what it could
            raise
        except BaseException:
            self._left, self._progress = left, progress
            raise
        if progress is not None:
            self._progressed_at = clock.monotonic()
        for event in others:
            self.history.learn(event)

    def leave(self, *events: NewEvent) -> None:
        """Has events recorded with the next append, of this pass and before any work begins, to save a commit.

        Until then a lost worker takes them with it, as it does with an outcome that it was about to record.
        """
        progress, self._progress = self._progress, None
        self._left += events if progress is None else (progress, *events)
        if not self.journal.saves_commits:
            self.record_left()

    def withdraw(self, step_id: str) -> None:
        """The workflow has cancelled the step: what is recorded of it is taken back, with the next append."""
        if self.held:
            self.held = [event for event in self.held if event.step_id != step_id]
        if self.journal.saves_commits and self.history.forget(step_id):
            self._left.insert(0, NewEvent(types.STEP_SUPERSEDED, step_id))

    def has_left(self) -> bool:
        """Whether something is to be recorded with the next append."""
        return bool(self._left)

    def record_left(self) -> None:
        """Records what was left, if anything was. Raises TurnLost."""
        if not self._left:
            return
        has_failed = self._left[-1].type == types.STEP_FAILED
        try:
            self.append()
        except DatabaseError as refusal:
            raise self.journal.lose(f"the database refuses to record that a step failed: {refusal}") from refusal
        if has_failed:
            self.newest = self.journal.seq

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
            self.record_left()
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
        is_async = self.held is not None
        if not is_async and _get_running_loop() is not None and not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
            return (
                "was called in an event loop that the workflow runs itself: make the workflow async def and await the step, "
                "or run the loop inside a step"
            )
        if self.journal.over:
            return (
                "was called after its turn had ended: the workflow caught StepCompleted or TurnLost; do not catch "
                "these exceptions"
            )
        if self.journal.is_in_transaction():
            return (
                "was called inside a transaction opened by the workflow, so it could not be recorded before that "
                "transaction ends: open the transaction inside the step, or use ctx.step.atomic"
            )
        return None

    def _find_other_place(self) -> str | None:
        if self.running:
            return f"was called inside step {self.running[-1]!r}: call it from the workflow itself"
        if threading.get_ident() != self._thread:
            return "was called from another thread than the workflow: call all steps in the thread of the workflow"
        return None
