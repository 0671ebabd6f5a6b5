"""The stateless mode: a run's history travels in the messages that announce its turns, and no table is read or written.

A journal and a message, and nothing of what a turn is. What the log would see to is not there: two deliveries of one
message are two turns (what each of them announces next is one publication to QStash, for ten minutes), and a run whose
message is lost is lost.
"""

from __future__ import annotations

import datetime
import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from django_hookflow import sealing
from django_hookflow.backoff import backoff_seconds
from django_hookflow.clock import clock
from django_hookflow.delivery.carrying import CarryingMessage, as_text, check_size, size_of
from django_hookflow.delivery.messages import HISTORY
from django_hookflow.delivery.transports import Transport, get_transport, hand_over
from django_hookflow.events import types
from django_hookflow.events.log import NewEvent, RecordedEvent, RunStart
from django_hookflow.exceptions import NeedsLog, NotStarted, TurnLost
from django_hookflow.runtime.journal import OnConnection

logger = logging.getLogger("django_hookflow.turn")

_NAMESPACE = uuid.UUID("5b0f9ae2-6d5c-4c5b-9d0c-6f2f6d7a3c11")


def start(workflow_id: str, run_id: str, encoded: str, of_the_log: Mapping[str, Any], beginning: RunStart) -> str:
    """Publishes the first message of a run: at once, or when the transaction on the default database commits.

    ``encoded`` is the JSON text of its data; ``of_the_log`` is what else the trigger was given. Raises NeedsLog for
    anything among that, NotStarted when the transport does not take the message, HistoryTooLarge.
    """
    for name, value in of_the_log.items():
        if value:
            raise NeedsLog(f"a run's {name}")
    transport = get_transport()
    if not transport.publishes_on_commit:
        raise NeedsLog(f"the {transport.name} transport")
    uid = uid_of(workflow_id, run_id)
    event = _timed(RecordedEvent(1, types.RUN_TRIGGERED, None, "{}", f'{{"data":{sealing.seal(uid, encoded)}}}'))
    check_size(size_of([as_text(event)]))
    wait = beginning.delay or (0.0 if beginning.at is None else _seconds_until(beginning.at))
    message = CarryingMessage(
        workflow_id,
        run_id,
        1,
        uid,
        1,
        delay=min(wait, transport.max_delay),
        kind=HISTORY,
        events=(as_text(event),),
        due_at=clock.time() + wait if wait else 0.0,
    )
    if connections[DEFAULT_DB_ALIAS].in_atomic_block:
        transaction.on_commit(lambda: _send_first(transport, message))
    else:
        _send_first(transport, message)
    return run_id


def uid_of(workflow_id: str, run_id: str) -> uuid.UUID:
    """The same for each trigger with the same ids: what makes them one publication, and the keys of their steps alike."""
    return uuid.uuid5(_NAMESPACE, f"{workflow_id}/{run_id}")


class MessageJournal(OnConnection):
    """A history out of a message, for the turn it announces. What is appended is kept when the next message is published."""

    def __init__(self, workflow_id: str, run_id: str, events: Sequence[RecordedEvent]) -> None:
        super().__init__(DEFAULT_DB_ALIAS)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.run_uid = uid_of(workflow_id, run_id)
        self.over = False
        self.loss: TurnLost | None = None
        self._events = [_timed(event) for event in (*events, *_settled(events[-1]))]
        self.turn_seq = self.seq = self._events[-1].seq + 1
        #: As the next message has them.
        self.texts = [as_text(event) for event in self._events]
        self._size = size_of(self.texts)

    def history(self) -> Sequence[RecordedEvent]:
        return self._events

    def recorded_at(self, seq: int) -> datetime.datetime:
        events = (json.loads(text) for text in self.texts)
        at = next(event[3]["at"] for event in events if event[0] >= seq)
        return datetime.datetime.fromtimestamp(at, datetime.timezone.utc)

    def append(self, *events: NewEvent, ends_turn: bool = False, goes_on: bool = False) -> Sequence[RecordedEvent]:
        """As :class:`Journal` says, but to be kept only once the turn has ended and its message is out.

        Raises HistoryTooLarge when the history then would not go into a message, whether or not one is needed: how far a
        run comes is not to depend on how fast it is.
        """
        last = events[-1]
        is_end = last.type in (types.RUN_COMPLETED, types.RUN_FAILED, types.RUN_DIVERGED)
        recorded = [
            as_text(_timed(RecordedEvent(self.seq + number, event.type, event.step_id, event.facts, _kept(event))))
            for number, event in enumerate(events, 1)
            if event.type not in (types.STEP_INTENDED, types.RUN_PROGRESSED)  # which only a log outlives, and shows
        ]
        for event in events:
            self._report(event)
        size = self._size + size_of(recorded)
        if not is_end and last.type != types.TURN_FAILED:  # which is small and for which the envelope has room
            check_size(size)
        self.texts += recorded
        self._size = size
        self.seq += len(events)
        self.over = self.over or ends_turn
        if ends_turn and not is_end:
            self.publish(self.texts, 0.0 if goes_on else _wait_of(last))
        return ()

    def check_may_work(self, step_id: str) -> None:
        """Nobody else can have the run."""

    def check_has_log(self, what: str) -> None:
        raise NeedsLog(what)

    def lose(self, why: str, *, goes_on: bool = False) -> TurnLost:
        self.over = True
        self.loss = TurnLost(why)
        return self.loss

    def atomic(self) -> AbstractContextManager[None]:
        raise NeedsLog("ctx.step.atomic")

    def atomic_beside(self, work: Callable[[], NewEvent]) -> None:
        raise NeedsLog("ctx.step.atomic")

    def release(self, lost_turns: int) -> float:
        """The message this turn came by is to be delivered again, which repeats what it did."""
        self.over = True
        if self.loss is not None:
            logger.warning("hookflow: a turn of run %s ended early: %s", self.run_id, self.loss)
        return backoff_seconds(lost_turns + 1)

    def publish(self, events: Sequence[str], wait: float, attempt: int = 1) -> None:
        """Announces a turn with this history, in so many seconds. Raises TurnLost."""
        transport = get_transport("qstash")  # also when the log, and another, is on meanwhile
        message = CarryingMessage(
            self.workflow_id,
            self.run_id,
            self.turn_seq,
            self.run_uid,
            attempt,
            delay=min(wait, transport.max_delay),
            kind=HISTORY,
            events=tuple(events),
            due_at=clock.time() + wait if wait else 0.0,
        )
        try:
            hand_over(transport, message)
        except Exception as error:  # of the transport, or of what the project has put around sending
            raise self.lose(f"the next turn could not be announced: {error}") from error

    def _report(self, event: NewEvent) -> None:
        """Logs what failed, since there is no other place that would say so."""
        if event.type not in (types.STEP_FAILED, types.TURN_FAILED, types.RUN_FAILED):
            return
        level = logging.ERROR if event.type == types.RUN_FAILED else logging.WARNING
        error, payload = json.loads(event.facts)["error"], json.loads(event.payload or "{}")
        where = f"step {event.step_id!r}" if event.step_id else "the workflow"
        text = payload.get("traceback") or payload.get("message", "")
        logger.log(level, "hookflow: run %s: %s in %s: %s\n%s", self.run_id, event.type, where, error, text)


def _send_first(transport: Transport, message: CarryingMessage) -> None:
    try:
        hand_over(transport, message)
    except Exception as error:
        raise NotStarted(message.run_id, str(error)) from error


def _settled(last: RecordedEvent) -> list[RecordedEvent]:
    """The event that ends the wait with which a history ends, as ``hookflow_settlement`` makes it: its time has come."""
    if last.type != types.STEP_SUSPENDED:
        return []
    began = json.loads(last.facts)
    if began["kind"] == types.BACKOFF:
        facts = json.dumps({"attempt": began["attempt"] + 1})
        return [RecordedEvent(last.seq + 1, types.STEP_RETRIED, last.step_id, facts, None)]
    facts = json.dumps({"kind": began["kind"], "attempt": began["attempt"], "took": 0})
    return [RecordedEvent(last.seq + 1, types.STEP_COMPLETED, last.step_id, facts, '{"result":null}')]


def _timed(event: RecordedEvent) -> RecordedEvent:
    """The event with when it came to be among its facts, in seconds since 1970, as it keeps it from then on."""
    facts = json.loads(event.facts)
    return event if "at" in facts else replace(event, facts=json.dumps({**facts, "at": clock.time()}))


def _wait_of(event: NewEvent) -> float:
    """Seconds until the wait that this event begins ends by itself."""
    facts = json.loads(event.facts)
    if "until" in facts:
        return _seconds_until(facts["until"])
    return float(facts[types.CATALOGUE[event.type].length or ""])


def _seconds_until(moment: str) -> float:
    return max(0.0, datetime.datetime.fromisoformat(moment.removesuffix("Z") + "+00:00").timestamp() - clock.time())


def _kept(event: NewEvent) -> str | None:
    """What a replay reads of the event's payload: nothing of a failure that is tried again."""
    return None if "retry_in" in json.loads(event.facts) else event.payload
