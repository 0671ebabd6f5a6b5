"""What a turn reads and appends to.

A journal hands out a run's history and takes the events that a pass of its workflow adds. :class:`LogJournal` is the log
itself, for the turn that has claimed the run: the fence, what operators did meanwhile, reconnecting, and what the rollback
of an atomic step takes back are dealt with here and nowhere else. :class:`HistoryJournal` is a history and nothing more:
for looking whether code fits it. Both keep to :class:`Journal`, which one suite of tests holds them to.
"""

from __future__ import annotations

import datetime
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import Any, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections, transaction

from django_hookflow.backoff import backoff_seconds
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.events import log, types
from django_hookflow.events.database import (
    alias,
    is_connection_lost,
    mend_connection,
    transaction_depth,
)
from django_hookflow.events.log import Appended, NewEvent, RecordedEvent
from django_hookflow.exceptions import ConcurrentAppend, OpenTransaction, TurnLost
from django_hookflow.models import WorkflowRun, WorkflowRunStatus
from django_hookflow.runtime import joining
from django_hookflow.runtime.lease import Heartbeat

logger = logging.getLogger("django_hookflow.turn")

#: Events that say what a step came to, which the log takes also after an operator's event.
OUTCOMES = frozenset({types.STEP_COMPLETED, types.STEP_FAILED})
#: Events that say what the run came to, which it takes from who knows all of it.
CONCLUSIONS = frozenset({types.RUN_COMPLETED, types.RUN_FAILED, types.RUN_DIVERGED, types.TURN_FAILED})


class Journal(Protocol):
    """One run's history, and where its next events go. ``over``: the pass can add nothing more."""

    #: Whether an append is a commit, of which fewer are better.
    saves_commits: bool

    @property
    def run_uid(self) -> UUID: ...

    @property
    def turn_seq(self) -> int:
        """The place in the history at which this pass began."""

    @property
    def seq(self) -> int:
        """How long the history is with what this pass has added."""

    @property
    def over(self) -> bool: ...

    def recorded_at(self, seq: int) -> datetime.datetime:
        """When the event at this place was recorded; of 0, when the run began to be worked on. The same in every pass."""

    def history(self) -> Sequence[RecordedEvent]:
        """The run's events up to this pass, in order, those that only began turns left out."""

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> Sequence[RecordedEvent]:
        """Records events, all or none; the options are those of ``hookflow_append``. Answers what others appended meanwhile.

        Raises TurnLost when the pass can go no further, which is then over, and DatabaseError when the database refuses
        these events.
        """

    def check_may_work(self, step_id: str) -> None:
        """Called before the work of a step that is not recorded. Raises what ends the pass if it is not to be done."""

    def check_has_log(self, what: str) -> None:
        """Raises NeedsLog for ``what`` if this is the history of a run that no log has."""

    def mend(self) -> None:
        """Called when work has failed, before that is appended: what it may have broken is put right."""

    def lose(self, why: str, *, goes_on: bool = False) -> TurnLost:
        """What to raise when the pass cannot go on, for a reason that is not the workflow's; it is over then.

        ``goes_on``: there is more to do at once, whatever the run waits for.
        """

    def atomic(self) -> AbstractContextManager[None]:
        """A transaction in which what is appended is recorded if it commits, and forgotten here too if it does not."""

    def atomic_beside(self, work: Callable[[], NewEvent]) -> None:
        """The same for a step that works in a thread of its own, beside others: what ``work`` answers is appended."""

    def has_threads(self) -> bool:
        """Whether steps may work in threads of their own: not in a transaction that is a test's."""

    def is_in_transaction(self) -> bool:
        """Whether the workflow's code has a transaction open, with whose end alone a record would be one."""


class TurnJournal(Journal, Protocol):
    """The journal of a turn, which decides what its run comes to."""

    @property
    def run_id(self) -> str: ...

    @property
    def loss(self) -> TurnLost | None:
        """Why the pass cannot go on, if :meth:`lose` has been called."""

    def release(self, lost_turns: int) -> float | None:
        """Lets the run go without deciding anything: the seconds until it is taken up again, None if it is not this turn's.

        Each turn in a row that gets nowhere makes the next one wait longer.
        """


class OnConnection:
    """Knows transactions of the workflow's code from one that was open before, which only a test is in."""

    saves_commits = False

    def __init__(self, using: str | None = None) -> None:
        self._using = alias() if using is None else using
        self._depth = transaction_depth(self._connection)

    @property
    def _connection(self) -> Any:
        """This thread's."""
        return connections[self._using]

    def is_in_transaction(self) -> bool:
        return transaction_depth(self._connection) > self._depth

    def check_has_log(self, what: str) -> None:
        """It has."""

    def has_threads(self) -> bool:
        return self._depth == 0

    def mend(self) -> None:
        mend_connection(self._connection)


class Times:
    """When the events of a run were recorded: read when one is first asked for, and then what has been added since."""

    def __init__(self, run_uid: UUID) -> None:
        self._run_uid = run_uid
        self._moments: list[datetime.datetime] = []
        self._began: datetime.datetime | None = None

    def of(self, seq: int) -> datetime.datetime:
        if seq > len(self._moments) or self._began is None:
            for _, type_, moment in log.read_times(self._run_uid, len(self._moments)):
                self._moments.append(moment)
                if type_ == types.TURN_STARTED and self._began is None:
                    self._began = moment
        return self._moments[seq - 1] if seq else self._began or self._moments[0]


class LogJournal(OnConnection):
    """The log of a run, for the turn that has claimed it; as a context manager it keeps the run's lease."""

    saves_commits = True

    def __init__(self, workflow_id: str, run_id: str, claim: log.Claim) -> None:
        assert claim.run_uid is not None
        super().__init__()
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.run_uid = claim.run_uid
        self.turn_seq = self.seq = claim.turn_seq
        self.over = False
        self.loss: TurnLost | None = None
        self._is_overtaken = self._goes_on = False
        self._appending = threading.RLock()
        self._events = claim.history
        self._times = Times(self.run_uid)
        self._heartbeat = Heartbeat(self.run_uid, self.turn_seq, conf.lease_seconds)

    def __enter__(self) -> LogJournal:
        self._heartbeat.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._heartbeat.__exit__(kind, error, tb)

    def history(self) -> Sequence[RecordedEvent]:
        return self._events

    def recorded_at(self, seq: int) -> datetime.datetime:
        return self._times.of(seq)

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> Sequence[RecordedEvent]:
        """As :class:`Journal` says; a message for the next turn goes out once the surrounding transaction, if any, commits."""
        with self._appending:
            return self._append(events, ends_turn, goes_on)

    def _append(self, events: tuple[NewEvent, ...], ends_turn: bool, goes_on: bool) -> Sequence[RecordedEvent]:
        self.over = self.over or ends_turn
        try:
            appended = self._write(events, ends_turn, goes_on)
        except ConcurrentAppend as error:
            self._is_overtaken = True
            raise self.lose(f"{events[0].type} was not recorded: {error}") from error
        except (DatabaseError, InterfaceError) as error:
            if is_connection_lost(error):
                raise self.lose(f"{events[0].type} was not recorded: {error}") from error
            self.over = False
            raise
        known, self.seq = self.seq, appended.seq
        for event in events:
            if event.starts is not None and event.starts.run_uid in appended.started:
                outbox.publish_started(event.starts, using=alias())
        if appended.is_handed_on:
            joining.hand_on_after_commit(self.run_uid)
        if ends_turn and appended.next_in is not None:
            message = Message(self.workflow_id, self.run_id, appended.seq, self.run_uid, 1, appended.next_in)
            outbox.publish_after_commit(message, using=alias())
        elif appended.seq > known + len(events):
            self._check_status()
            return log.read(self.run_uid, known + 1, appended.seq)
        return ()

    def check_may_work(self, step_id: str) -> None:
        if self._heartbeat.lost:
            raise self.lose("its lease is gone: another worker has taken over the run, or PostgreSQL crashed")

    def lose(self, why: str, *, goes_on: bool = False) -> TurnLost:
        self.over = True
        self.loss = TurnLost(why)
        self._goes_on = goes_on
        return self.loss

    @contextmanager
    def atomic(self) -> Iterator[None]:
        before = self.seq, self.over
        is_done = False
        try:
            with transaction.atomic(using=alias()):
                yield
                is_done = True
        except BaseException as error:
            self._take_back(before, is_done, error)
            raise

    def atomic_beside(self, work: Callable[[], NewEvent]) -> None:
        """Calls ``work`` in a transaction on the connection of this thread, which is not the turn's; appends what it answers.

        Turns append one after another, and the lock is held until the commit, so that has to wait for nobody: what it would
        wait for, such as deferred constraints, is waited for before, where PostgreSQL sees a deadlock.
        """
        if not self.has_threads():
            with self.atomic():
                self.append(work())
            return
        with ExitStack() as until_committed:
            before: tuple[int, bool] | None = None
            is_done = False
            try:
                with transaction.atomic(using=alias()):
                    event = work()
                    with self._connection.cursor() as cursor:
                        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                    until_committed.enter_context(self._appending)
                    before = self.seq, self.over
                    self.append(event)
                    is_done = True
            except BaseException as error:
                if before is not None:
                    self._take_back(before, is_done, error)
                raise

    def release(self, lost_turns: int) -> float | None:
        """Lets the run go without deciding anything: the seconds until it is taken up again, None if it is not this turn's.

        Each turn in a row that gets nowhere makes the next one wait longer; what was sent or done to the run meanwhile is
        taken up at once.
        """
        self.over = True
        if self.loss is not None and not self._goes_on:
            logger.warning("hookflow: a turn of run %s ended early: %s", self.run_id, self.loss)
        wait = 0.0 if self._is_overtaken or self._goes_on else backoff_seconds(lost_turns + 1)
        try:
            mend_connection(self._connection)
            return wait if log.release(self.run_uid, self.turn_seq, wait, goes_on=self._goes_on) else None
        except (DatabaseError, InterfaceError):  # then the lease runs out, and the outbox row comes due with it
            return wait

    def _take_back(self, before: tuple[int, bool], is_done: bool, error: BaseException) -> None:
        """Forgets what was appended in a transaction that was rolled back."""
        self.seq, self.over = before[0], before[1] or self.loss is not None
        if is_done and isinstance(error, (DatabaseError, InterfaceError)) and is_connection_lost(error):
            raise self.lose(f"it is unknown whether its transaction was committed: {error}") from error

    def _write(self, events: tuple[NewEvent, ...], ends_turn: bool, goes_on: bool) -> Appended:
        try:
            return self._append_or_reconnect(events, ends_turn, goes_on)
        except ConcurrentAppend as refusal:
            if OUTCOMES.isdisjoint(event.type for event in events) or not ends_turn or self.is_in_transaction():
                raise
            # The turn may not end on a history it does not know; what has happened is to be recorded all the same.
            happened = [event for event in events if event.type not in CONCLUSIONS]
            self.seq = log.append(self.run_uid, self.seq, happened).seq
            self._is_overtaken = True
            raise self.lose("the run was changed concurrently") from refusal

    def _append_or_reconnect(self, events: tuple[NewEvent, ...], ends_turn: bool, goes_on: bool) -> Appended:
        """Appends, once more on a new connection if this one is dead: idle while a step was long, it may have been cut.

        Should the first attempt have been committed before its answer was lost, the fence refuses the second.
        """
        sending = outbox.sending() if ends_turn else log.LEFT_TO_RELAY

        def append() -> Appended:
            with self._own_savepoint():
                return log.append(self.run_uid, self.seq, events, ends_turn=ends_turn, goes_on=goes_on, sending=sending)

        try:
            return append()
        except (DatabaseError, InterfaceError) as error:
            if not is_connection_lost(error) or not mend_connection(self._connection):
                raise
            return append()

    def _own_savepoint(self) -> AbstractContextManager[None]:
        """What is refused does not take the transaction of a test with it."""
        return transaction.atomic(using=alias()) if self._depth else nullcontext()

    def _check_status(self) -> None:
        """Ends the turn if what was done to the run meanwhile has ended or held it; the next step does not begin."""
        status = WorkflowRun.objects.using(alias()).values_list("status", flat=True).get(pk=self.run_uid)
        if status != WorkflowRunStatus.RUNNING:
            raise self.lose(f"the run is {status}")


class EndOfHistory(BaseException):
    """The code has got to the end of a history that cannot be added to: as far as that goes, it fits.

    ``step_id`` is the step it goes on with, None if it goes on with none.
    """

    def __init__(self, step_id: str | None) -> None:
        super().__init__(
            f"the history ends here; the code continues with step {step_id!r}" if step_id else "the history ends here"
        )
        self.step_id = step_id


class HistoryJournal(OnConnection):
    """A run's history, to be read and not added to: what goes beyond it is neither done nor recorded, see :class:`EndOfHistory`."""

    def __init__(self, run_uid: UUID, events: Sequence[RecordedEvent]) -> None:
        super().__init__()
        self.run_uid = run_uid
        self.turn_seq = events[-1].seq + 1 if events else 1
        self.seq = self.turn_seq - 1
        self.over = False
        self._events = events
        self._times = Times(run_uid)

    def history(self) -> Sequence[RecordedEvent]:
        return self._events

    def recorded_at(self, seq: int) -> datetime.datetime:
        return self._times.of(seq)

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> Sequence[RecordedEvent]:
        self.over = True
        raise EndOfHistory(events[0].step_id)

    def check_may_work(self, step_id: str) -> None:
        self.over = True
        raise EndOfHistory(step_id)

    def lose(self, why: str, *, goes_on: bool = False) -> TurnLost:
        self.over = True
        return TurnLost(why)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with transaction.atomic(using=alias()):
            yield

    def atomic_beside(self, work: Callable[[], NewEvent]) -> None:
        raise EndOfHistory(None)


def check_no_transaction(journal: Journal) -> None:
    """Raises OpenTransaction if the code that has just run has left one open."""
    if journal.is_in_transaction():
        raise OpenTransaction
