"""A run's events as a story.

The log says when something ended; what came before it in the same turn says when it began. Between a turn's last event
and the next turn's first, the run waits: asleep, until a retry is due, held by an operator, and after that until a
delivery comes. So every stretch of a run's life belongs to exactly one segment, and rows show what steps did in it.

Nothing here raises, whatever the events are: a payload may be redacted, a type may be of a later version.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from django_hookflow.events import types
from django_hookflow.timeline.story import BUSY, Failure, Kind, Mark, Row, Segment, Story, Turn, error_of

#: Beyond the sleep of a hundred years that a step may take, dates end.
MAX_SECONDS = 100 * 366 * 86_400


class Event(Protocol):
    """What a story is told from: a :class:`~.reading.ToldEvent`, or a ``WorkflowEvent``."""

    seq: Any
    type: Any
    step_id: Any
    actor: Any
    payload: Any
    recorded_at: Any


class Announced(Protocol):
    """What is known at present: see :class:`~.reading.Present`."""

    @property
    def now(self) -> datetime.datetime: ...

    @property
    def is_leased(self) -> bool: ...

    def is_between_turns(self, last_seq: int) -> bool: ...


def tell(events: Iterable[Event], present: Announced | None = None) -> Story:
    """The story of a run's events, in order of their seq; with ``present``, up to now."""
    teller = _Teller()
    for event in events:
        teller.add(event)
    if present is not None:
        teller.settle(present)
    return teller.story


class _Teller:
    def __init__(self) -> None:
        self.story = Story()
        self._rows: dict[str, Row] = {}
        #: The attempt under way and its row; ``_guessed`` while it is only what the turn must be about to do.
        self._attempt: Segment | None = None
        self._attempt_of: Row | None = None
        self._guessed = False
        #: The step that the next turn goes on with: it sleeps, backs off, or was lost.
        self._next: Row | None = None
        #: Since when what the turn does now has been going on.
        self._since: datetime.datetime = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)
        #: A turn that was told to stop and may still record what its step came to.
        self._lingering: Turn | None = None

    def add(self, event: Event) -> None:
        payload = event.payload if isinstance(event.payload, dict) else {}
        story = self.story
        if story.start is None:
            story.start = self._since = event.recorded_at
            self._enter("waiting", event.recorded_at, event.seq)
        story.last_seq, story.last_at = event.seq, event.recorded_at
        tells = self._tells.get(event.type)
        if tells is not None and (event.step_id is not None or not event.type.startswith(("step.", "sleep."))):
            tells(self, event, payload)
        if event.actor or event.type in _SAID:
            reason = _text(payload.get("reason"))
            story.marks.append(Mark(event.seq, event.recorded_at, event.type, event.actor or "", reason, event.step_id))

    def settle(self, present: Announced) -> None:
        """What the log does not say yet: a sleep is over, a turn's share is done, a turn that was to stop has."""
        story, current = self.story, self.story.current
        if story.turn is not None and present.is_between_turns(story.last_seq):
            self._end_turn(self._since, story.last_seq, "share done")
            self._enter("waiting", self._since, story.last_seq)
        elif self._lingering is not None and not present.is_leased and story.last_at is not None:
            self._end_turn(story.last_at, story.last_seq, "not heard of again")
        life = story.life[-1] if story.life else None
        if life is not None and life.end is None and life.until is not None and life.until <= present.now:
            self._enter("waiting", life.until, life.seq)
            story.current = current

    # The run's life, and turns.

    def _enter(
        self, kind: Kind, moment: datetime.datetime, seq: int, *, row: Row | None = None, pause: float | None = None
    ) -> None:
        """From now on the run is in another segment of its life; in a row's, too, if a step sleeps or backs off."""
        self._leave(moment, seq)
        until = None if pause is None else moment + datetime.timedelta(seconds=pause)
        segment = Segment(kind, moment, until=until, attempt=row.attempts if row else 0, seq=seq)
        self._live(segment, row)
        self.story.current, self.story.end = row or self._attempt_of, None

    def _leave(self, moment: datetime.datetime, seq: int) -> None:
        """Ends the present segment: when its time was over, or now if somebody was quicker. No gap is left."""
        if not self.story.life:
            return
        segment = self.story.life[-1]
        if segment.end is None:
            is_over = segment.until is not None and segment.until <= moment
            segment.close(segment.until if is_over and segment.until else moment, seq)
            if segment.end != moment:
                self._live(Segment("waiting", segment.end or moment, moment, seq=seq))
        elif segment.end < moment:  # the run had ended and goes on after all
            self._live(Segment("stopped", segment.end, moment, seq=seq))

    def _live(self, segment: Segment, row: Row | None = None) -> None:
        self.story.life.append(segment)
        if row is not None:
            row.segments.append(segment)
        elif segment.kind not in BUSY:
            self.story.waits.append(segment)

    def _begin_turn(self, event: Event, payload: dict[str, Any]) -> None:
        if self.story.turn is not None:  # it was handed back, or its share was done: no event of its own tells
            self._end_turn(self._since, event.seq, "handed back" if self._attempt else "share done")
            self._enter("waiting", self._since, event.seq)
        self._end_turn(event.recorded_at, event.seq, "")
        self._enter("running", event.recorded_at, event.seq)
        self._since, self.story.failure = event.recorded_at, None
        self.story.turns.append(Turn(event.seq, event.recorded_at, _text(payload.get("worker"))))
        row, self._next = self._next, None
        if row is not None and row.state == "sleeping":
            row.state = "completed"
        elif row is not None:  # nothing can come before it
            self._begin_attempt(row, event, row.attempts + (row.state == "backoff"), guessed=True)

    def _end_turn(self, moment: datetime.datetime, seq: int, outcome: str) -> None:
        """The turn is over, and with it an attempt that it leaves without an outcome."""
        turn = self.story.turn
        if turn is not None:
            turn.end, turn.outcome = max(turn.start, moment), outcome
        if self._attempt is not None and self._attempt_of is not None:
            self._attempt.kind = "lost"
            self._attempt.close(moment, seq, outcome)
            self._attempt_of.state, self._next = "pending", self._attempt_of
        self._forget_attempt()
        self._lingering = None

    def _lose_turn(self, event: Event, payload: dict[str, Any]) -> None:
        if self.story.turn is not None:
            self._enter("lost", self._since, event.seq)
            self._end_turn(event.recorded_at, event.seq, "abandoned")
            self._enter("waiting", event.recorded_at, event.seq)

    def _fail_turn(self, event: Event, payload: dict[str, Any]) -> None:
        self.story.retries += 1
        self.story.failure = _failure(event, payload)
        self._end_turn(event.recorded_at, event.seq, "failed")
        self._enter("backoff", event.recorded_at, event.seq, pause=_seconds(payload.get("retry_in")))
        self.story.life[-1].attempt = self.story.failure.attempts

    # Steps.

    def _row_of(self, event: Event, payload: dict[str, Any]) -> Row:
        row = self._rows.get(event.step_id)
        if row is None:
            row = self._rows[event.step_id] = Row(event.step_id)
            self.story.rows.append(row)
        row.seq = event.seq
        row.kind = _text(payload.get("kind")) or row.kind
        return row

    def _begin_attempt(self, row: Row, event: Event, attempt: int, *, guessed: bool = False) -> None:
        self._drop_attempt(event)
        self._attempt = Segment("running", self._since, attempt=max(1, attempt), seq=event.seq)
        self._attempt_of, self._guessed = row, guessed
        row.segments.append(self._attempt)
        row.attempts, row.state = self._attempt.attempt, "running"
        self.story.current = row

    def _drop_attempt(self, event: Event) -> None:
        """The turn does something else: what it was taken to be about to do it was not."""
        row, attempt = self._attempt_of, self._attempt
        if row is not None and attempt is not None:
            row.state = "pending"
            attempt.close(self._since, event.seq)
            if self._guessed:
                row.segments.remove(attempt)
                row.attempts = max((segment.attempt for segment in row.segments), default=0)
        self._forget_attempt()

    def _forget_attempt(self) -> None:
        self._attempt = self._attempt_of = self.story.current = None
        self._guessed = False

    def _intend(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._row_of(event, payload)
        if self._works:
            self._begin_attempt(row, event, _number(payload.get("attempt")) or row.attempts + 1)

    @property
    def _works(self) -> bool:
        return self.story.turn is not None or self._lingering is not None

    def _complete(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._row_of(event, payload)
        last = row.segments[-1] if row.segments else None
        if row.kind == "sleep" and last is not None and last.kind == "sleeping":
            # Recorded together with what came next; it was over before that began.
            last.seq, last.outcome = event.seq, "completed"
        else:
            self._end_attempt(row, event, payload, "completed")
        row.state = "completed"

    def _fail(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._row_of(event, payload)
        self._end_attempt(row, event, payload, "failed")
        row.state, row.error = "failed", error_of(payload)
        if payload.get("retry_in") is None:
            return
        self.story.retries += 1
        row.state, self._next = "backoff", row
        if self.story.turn is not None and payload.get("announced") is not False:
            self._end_turn(event.recorded_at, event.seq, "backs off")
            self._enter("backoff", event.recorded_at, event.seq, row=row, pause=_seconds(payload["retry_in"]))

    def _end_attempt(self, row: Row, event: Event, payload: dict[str, Any], outcome: str) -> None:
        """What an attempt came to: the one under way, or one that is heard of for the first time now that it is over."""
        if self._works and self._attempt_of is not row:
            self._begin_attempt(row, event, _number(payload.get("attempt")) or row.attempts + 1)
        row.attempts = _number(payload.get("attempt")) or max(1, row.attempts)
        if self._attempt is not None and self._attempt_of is row:
            self._attempt.attempt = row.attempts
            self._attempt.close(event.recorded_at, event.seq, outcome)
            self._since = event.recorded_at
            self._forget_attempt()
        if self._lingering is not None:
            self._lingering.end, self._lingering = event.recorded_at, None

    def _sleep(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._row_of(event, payload)
        self._drop_attempt(event)
        self._end_turn(event.recorded_at, event.seq, "sleeps")
        row.kind, row.state, row.attempts, self._next = "sleep", "sleeping", 1, row
        self._enter("sleeping", event.recorded_at, event.seq, row=row, pause=_seconds(payload.get("seconds")))

    def _doubt(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._row_of(event, payload)
        self._drop_attempt(event)
        self._stop(event, "in doubt")
        row.state = "doubted"

    def _resolve(self, event: Event, payload: dict[str, Any]) -> None:
        self._row_of(event, payload).resolved = True
        self._go_on(event, payload)

    def _supersede(self, event: Event, payload: dict[str, Any]) -> None:
        row = self._rows.pop(event.step_id, None)
        if row is None:
            return
        if row is self._attempt_of:
            self._drop_attempt(event)
        if row is self._next:
            self._next = None
        row.superseded = True

    # The run, and what operators say to it.

    def _stop(self, event: Event, outcome: str) -> None:
        """It goes no further by itself."""
        self._end_turn(event.recorded_at, event.seq, outcome)
        self._enter("stopped", event.recorded_at, event.seq)

    def _diverge(self, event: Event, payload: dict[str, Any]) -> None:
        self.story.failure = _failure(event, payload)
        self._drop_attempt(event)
        self._stop(event, "diverged")

    def _end(self, event: Event, payload: dict[str, Any]) -> None:
        self.story.failure = _failure(event, payload) if event.type == types.RUN_FAILED else None
        if self._guessed:
            self._drop_attempt(event)
        self._end_turn(event.recorded_at, event.seq, event.type.removeprefix("run."))
        self._leave(event.recorded_at, event.seq)
        self.story.end = event.recorded_at

    def _cancel(self, event: Event, payload: dict[str, Any]) -> None:
        self._tell_to_stop(event, "cancelled")
        self._leave(event.recorded_at, event.seq)
        self.story.end, self.story.current, self.story.failure = event.recorded_at, self._attempt_of, None

    def _pause(self, event: Event, payload: dict[str, Any]) -> None:
        self._tell_to_stop(event, "paused")
        self._enter("held", event.recorded_at, event.seq)

    def _tell_to_stop(self, event: Event, outcome: str) -> None:
        """A turn at work hears of it when its step is done, and what that came to is still recorded."""
        turn = self.story.turn
        if turn is not None:
            turn.end, turn.outcome, self._lingering = event.recorded_at, outcome, turn

    def _go_on(self, event: Event, payload: dict[str, Any]) -> None:
        """Resumed, replayed, rewound, resolved or woken: the run waits for its next turn, or sleeps out its sleep."""
        rest = _seconds(payload.get("seconds")) if event.type == "run.resumed" else 0.0
        self._end_turn(event.recorded_at, event.seq, event.type.removeprefix("run."))
        self.story.failure = None
        row = self._next
        if rest and row is not None and row.state in ("sleeping", "backoff"):
            kind: Kind = "sleeping" if row.state == "sleeping" else "backoff"
            self._enter(kind, event.recorded_at, event.seq, row=row, pause=rest)
        elif rest:
            self._enter("backoff", event.recorded_at, event.seq, pause=rest)
        else:
            self._enter("waiting", event.recorded_at, event.seq)

    def _restart(self, event: Event, payload: dict[str, Any]) -> None:
        if payload.get("run_id"):
            self.story.restarted_as.append(_text(payload["run_id"]))

    _tells: ClassVar[dict[str, Callable[[_Teller, Event, dict[str, Any]], None]]] = {
        "turn.started": _begin_turn,
        "turn.abandoned": _lose_turn,
        "turn.failed": _fail_turn,
        "step.intended": _intend,
        "step.completed": _complete,
        "step.failed": _fail,
        "step.doubted": _doubt,
        "step.resolved": _resolve,
        "step.superseded": _supersede,
        "sleep.started": _sleep,
        "run.completed": _end,
        "run.failed": _end,
        "run.cancelled": _cancel,
        "run.diverged": _diverge,
        "run.paused": _pause,
        "run.resumed": _go_on,
        "run.replayed": _go_on,
        "run.rewound": _go_on,
        "run.woken": _go_on,
        "run.restarted": _restart,
    }


#: What is said to a run, also by somebody who is not named.
_SAID = frozenset(
    {
        "run.triggered",
        "run.cancelled",
        "run.paused",
        "run.resumed",
        "run.replayed",
        "run.replay_repeated",
        "run.restarted",
        "run.rewound",
        "run.woken",
        "step.resolved",
        "event.redacted",
        "dead_letter.removed",
    }
)


def _failure(event: Event, payload: dict[str, Any]) -> Failure:
    asked = payload.get("asked")
    return Failure(
        event.seq,
        event.type,
        event.step_id,
        error_of(payload),
        _number(payload.get("attempts", payload.get("attempt"))),
        _text(payload.get("recorded")),
        None if asked is None else _text(asked),
    )


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else 0


def _seconds(value: Any) -> float:
    return min(max(float(value), 0.0), MAX_SECONDS) if isinstance(value, (int, float)) else 0.0
