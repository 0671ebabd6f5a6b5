"""A run's events as a story.

Nothing is inferred from the order of events. An attempt of a step ended when its outcome was recorded and began ``took``
earlier; one that has no outcome is known only if its intent was recorded. A wait lasts from the event that begins it to the
one that settles it; the catalogue of events names both. The run's life is what follows from that: while a turn is under
way it works, else it waits for the first of its waits, and with none for a delivery. So every stretch of it belongs to
exactly one segment, and rows show what steps did in it.

Nothing here raises, whatever the events are: a payload may be redacted, a type or a kind of wait may be of a later version.
"""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from django_hookflow.events import types
from django_hookflow.events.types import CATALOGUE, EventType
from django_hookflow.timeline.facts import (
    Event,
    error_of,
    facts_of,
    is_number,
    moment,
    number,
    payload_of,
    seconds,
    text,
)
from django_hookflow.timeline.life import ENDED, LOST, RUNNING, WAITING, Life, State
from django_hookflow.timeline.story import BUSY, Failure, Kind, Mark, Row, SaidProgress, Segment, Story, TurnSpan

#: As what a wait is shown, what its step is in meanwhile, and which of several waits is shown: the lowest rank, then the one
#: that is due first. Those of rank 0 stand before a turn that is still at work.
WAITS: dict[str, tuple[int, Kind, str]] = {
    types.HOLD: (0, "held", ""),
    types.DIVERGENCE: (0, "stopped", ""),
    types.DOUBT: (1, "stopped", "doubted"),
    types.SLEEP: (2, "sleeping", "sleeping"),
    types.BACKOFF: (2, "backoff", "backoff"),
    types.START: (2, "sleeping", ""),
}
OTHER_WAIT: tuple[int, Kind, str] = (3, "suspended", "suspended")
#: How a turn has ended that ends with a wait.
OUTCOMES = {types.SLEEP: "sleeps", types.BACKOFF: "backs off", types.DOUBT: "in doubt"}

LATEST = datetime.datetime.max.replace(tzinfo=datetime.timezone.utc)


class AtPresent(Protocol):
    """What is known at present: see :class:`~.reading.Present`."""

    @property
    def now(self) -> datetime.datetime: ...

    @property
    def is_leased(self) -> bool: ...

    def is_between_turns(self, last_seq: int) -> bool: ...


def story_of(events: Iterable[Event], present: AtPresent | None = None) -> Story:
    """The story of a run's events, in order of their seq; with ``present``, up to now."""
    fold = _Fold()
    for event in events:
        fold.add(event)
    return fold.finish(present)


@dataclass(eq=False)
class _Wait:
    """Something begun: of the step that ``row`` shows, or of the run itself."""

    rank: int
    state: State
    row: Row | None
    row_state: str
    segment: Segment | None = None
    is_settled: bool = False

    def show(self, moment: datetime.datetime, seq: int) -> None:
        """In the row, from ``moment`` on."""
        if self.row is not None:
            self.segment = self.state.segment(moment, None, seq)
            self.row.segments.append(self.segment)
            self.row.state = self.row_state

    def end(self, moment: datetime.datetime, seq: int, outcome: str) -> None:
        if self.segment is not None and self.segment.end is None:
            self.segment.close(moment, seq, outcome)


class _Fold:
    def __init__(self) -> None:
        self.story = Story()
        self._life = Life()
        self._rows: dict[str, Row] = {}
        #: Attempts whose intent is recorded and whose outcome is not, by step.
        self._attempts: dict[str, Segment] = {}
        #: Waits by step ("" is the run itself) and kind; and in the order of being shown, settled ones among them.
        self._waits: dict[str, dict[str, _Wait]] = {}
        self._queue: list[tuple[int, datetime.datetime, int, _Wait]] = []
        #: The step whose next attempt is due, and when the turn last recorded anything.
        self._due: Row | None = None
        self._last_sign = LATEST
        self._has_ended = False

    def add(self, event: Event) -> None:
        facts = facts_of(event)
        type_ = CATALOGUE.get(event.type) or EventType(event.type, "")
        story = self.story
        if story.start is None:
            story.start = event.recorded_at
        story.last_seq = event.seq
        if event.type != types.RUN_IMPORTED:  # may be years after what it is about: a drawing ends with the run
            story.last_at = event.recorded_at
        if type_.is_act or event.type == types.RUN_TRIGGERED or (event.actor and event.type not in CATALOGUE):
            self._mark(event)
        if story.failure is not None:
            self._end_failure(story.failure, type_)
        for kind in type_.settles_run:
            wait = self._waits.get("", {}).pop(kind, None)
            self._settle(wait, event)
            story.retries += kind == types.BACKOFF and wait is not None
        own = self._own.get(event.type)
        if own is not None and (event.step_id is not None or not type_.is_of_step):
            own(self, event, facts)
        if type_.waits_begun is not None:
            self._begin_wait(event, facts, type_)
        if type_.ends_run:
            self._end_run(event)
        state = ENDED if self._has_ended else self._state()
        self._life.enter(state, event.recorded_at, event.seq)

    def finish(self, present: AtPresent | None) -> Story:
        """Adds what is not in the log yet: a time is over, a turn's share is done, a worker gives no sign of life."""
        story = self.story
        if present is not None and story.last_at is not None:
            if story.turn is not None and present.is_between_turns(story.last_seq):
                self._stop_turn("share done", story.last_seq)
            if story.turn is None and not present.is_leased:
                self._lose_attempts(story.last_at, story.last_seq, "no sign of life")
        for segment, is_in_row in self._life.segments(present.now if present is not None else None):
            story.life.append(segment)
            if not is_in_row and segment.kind not in BUSY:
                story.waits.append(segment)
        if self._attempts:
            story.current = self._rows.get(next(reversed(self._attempts)))
        elif not self._has_ended:
            shown = self._first_wait()
            is_shown = shown is not None and shown.row is not None and shown.state is self._life.state
            story.current = shown.row if shown is not None and is_shown else self._due
        return story

    def _state(self) -> State:
        """What the run is in: at work if a turn is under way, else what it waits for."""
        wait = self._first_wait()
        if self.story.turn is not None and (wait is None or wait.rank > 0):
            return RUNNING
        return WAITING if wait is None else wait.state

    # Waits.

    def _first_wait(self) -> _Wait | None:
        while self._queue and self._queue[0][-1].is_settled:
            heapq.heappop(self._queue)
        return self._queue[0][-1] if self._queue else None

    def _begin_wait(self, event: Event, facts: dict[str, Any], type_: EventType) -> None:
        kind = text(facts.get("kind")) if type_.waits_begun == "kind" else type_.waits_begun or ""
        until = moment(facts.get("until"))
        if type_.waits_begun == types.DEADLINE:  # it ends the run, and is nothing that it is in
            self.story.deadline = until
            return
        row = self._row_of(event, facts) if type_.is_of_step and event.step_id is not None else None
        self._end_turn(event.recorded_at, OUTCOMES.get(kind, type_.name.removeprefix("run.")))
        if self._has_ended or (type_.length == "retry_in" and until is None):  # nothing follows
            return
        rank, shown_as, row_state = WAITS.get(kind, OTHER_WAIT)
        attempt, key = number(facts.get("attempt")), text(facts.get("key"))
        state = State(shown_as, kind, until, attempt, is_in_row=row is not None, key=key)
        wait = _Wait(rank, state, row, row_state or "suspended")
        waits = self._waits.setdefault(row.step_id if row else "", {})
        self._settle(waits.get(kind), event)
        waits[kind] = wait
        heapq.heappush(self._queue, (rank, until or LATEST, event.seq, wait))
        wait.show(event.recorded_at, event.seq)

    def _settle(self, wait: _Wait | None, event: Event) -> None:
        if wait is not None:
            wait.is_settled = True
            wait.end(event.recorded_at, event.seq, event.type.removeprefix("step."))

    def _settle_step(self, event: Event) -> bool:
        """Whether the step had waited."""
        if event.step_id not in self._waits:
            return False
        waits = self._waits.pop(event.step_id)
        for wait in waits.values():
            self._settle(wait, event)
        return bool(waits)

    def _open_waits(self) -> list[_Wait]:
        return [wait for waits in self._waits.values() for wait in waits.values()]

    # The run, and turns.

    def _end_run(self, event: Event) -> None:
        outcome = event.type.removeprefix("run.")
        self._end_turn(event.recorded_at, outcome)
        if event.type != types.RUN_CANCELLED:  # which a worker notices when its step is done
            self._lose_attempts(event.recorded_at, event.seq, outcome)
        for wait in self._open_waits():
            wait.end(event.recorded_at, event.seq, outcome)
        if not self._has_ended:
            self._has_ended, self.story.end = True, event.recorded_at

    def _go_back(self, event: Event, facts: dict[str, Any]) -> None:
        """Replayed or rewound: a worker that is at it is fenced off, and waits that nothing has settled go on."""
        outcome = event.type.removeprefix("run.")
        self._end_turn(event.recorded_at, outcome)
        self._lose_attempts(event.recorded_at, event.seq, outcome)
        if self._has_ended:
            self._has_ended, self.story.end = False, None
            for wait in self._open_waits():
                wait.show(event.recorded_at, event.seq)

    def _begin_turn(self, event: Event, facts: dict[str, Any]) -> None:
        if self.story.turn is not None:  # it was handed back, or its share was done: no event records it
            self._stop_turn("handed back" if self._attempts else "share done", event.seq)
        self._lose_attempts(event.recorded_at, event.seq, "handed back")
        self._last_sign = event.recorded_at
        worker, version = text(facts.get("worker")), text(facts.get("version"))
        self.story.turns.append(TurnSpan(event.seq, event.recorded_at, worker, version=version))

    def _stop_turn(self, outcome: str, seq: int) -> None:
        """It has ended with what it recorded last."""
        self._end_turn(self._last_sign, outcome)
        if self._life.state is RUNNING:
            self._life.enter(WAITING, self._last_sign, seq)

    def _lose_turn(self, event: Event, facts: dict[str, Any]) -> None:
        """From what it recorded last until the run was taken from it, nobody knows what the turn did."""
        if self._life.state is RUNNING:
            self._life.enter(LOST, self._last_sign, event.seq)
        self._end_turn(event.recorded_at, "abandoned")
        self._lose_attempts(event.recorded_at, event.seq, "abandoned")

    def _fail_turn(self, event: Event, facts: dict[str, Any]) -> None:
        self._end_turn(event.recorded_at, "failed")
        self._fail(event, facts)

    def _end_turn(self, moment: datetime.datetime, outcome: str) -> None:
        turn = self.story.turn
        if turn is not None:
            turn.end, turn.outcome = max(turn.start, moment), outcome

    def _lose_attempt(self, event: Event, outcome: str) -> None:
        attempt = self._attempts.pop(event.step_id, None)
        if attempt is not None:
            attempt.kind = "lost"
            attempt.close(event.recorded_at, event.seq, outcome)

    def _lose_attempts(self, moment: datetime.datetime, seq: int, outcome: str) -> None:
        for step_id, attempt in self._attempts.items():
            attempt.kind = "lost"
            attempt.close(moment, seq, outcome)
            self._due = self._rows[step_id]
            self._due.state = "pending"
        self._attempts.clear()

    # Steps.

    def _row_of(self, event: Event, facts: dict[str, Any]) -> Row:
        """The row of the event's step, with what all events of steps have."""
        row = self._rows.get(event.step_id)
        if row is None:
            row = self._rows[event.step_id] = Row(event.step_id)
            self.story.rows.append(row)
        row.seq = event.seq
        kind = text(facts.get("kind"))
        if event.type == types.STEP_SUSPENDED:  # for something else than its next attempt, it is a step of that kind
            kind = text(facts.get("step_kind")) or ("" if kind in (types.BACKOFF, types.DOUBT) else kind)
        row.kind = kind or row.kind
        row.attempts = number(facts.get("attempt")) or row.attempts
        row.max_attempts = number(facts.get("of")) or row.max_attempts
        if self._due is row:
            self._due = None
        return row

    def _intend(self, event: Event, facts: dict[str, Any]) -> None:
        self._lose_attempt(event, "intended again")
        row = self._row_of(event, facts)
        row.state, self._last_sign = "running", event.recorded_at
        attempt = Segment("running", event.recorded_at, attempt=row.attempts, seq=event.seq)
        self._attempts[row.step_id] = attempt
        row.segments.append(attempt)

    def _end_step(self, event: Event, facts: dict[str, Any]) -> None:
        """An outcome ends what the step waited for, or an attempt."""
        row = self._row_of(event, facts)
        row.state = event.type.removeprefix("step.")
        if not self._settle_step(event):
            self._end_attempt(row, event, facts)
        if event.type == types.STEP_FAILED:
            row.error = error_of(event)

    def _end_attempt(self, row: Row, event: Event, facts: dict[str, Any]) -> None:
        """It worked as long as it recorded, whenever its intent was recorded and whatever was done to the run meanwhile."""
        row.attempts = max(1, row.attempts)
        attempt = self._attempts.pop(row.step_id, None)
        if attempt is None:
            attempt = Segment("running", event.recorded_at)
            row.segments.append(attempt)
        attempt.start = event.recorded_at - datetime.timedelta(seconds=seconds(facts.get("took")))
        attempt.attempt = row.attempts
        attempt.close(event.recorded_at, event.seq, row.state)
        self._last_sign = event.recorded_at
        turn = self.story.turns[-1] if self.story.turns else None
        if turn is not None and turn.end is not None:  # it was to stop, and has recorded what it was at
            turn.end = max(turn.end, event.recorded_at)

    def _retry(self, event: Event, facts: dict[str, Any]) -> None:
        self._settle_step(event)
        self.story.retries += not (facts.get("answered") or facts.get("timed_out"))
        row = self._rows.get(event.step_id)
        if row is not None:
            row.state, row.seq, self._due = "pending", event.seq, row

    def _resolve(self, event: Event, facts: dict[str, Any]) -> None:
        self._row_of(event, facts).resolved = True

    def _supersede(self, event: Event, facts: dict[str, Any]) -> None:
        self._settle_step(event)
        self._lose_attempt(event, "superseded")
        row = self._rows.pop(event.step_id, None)
        if row is not None:
            row.superseded = True
        if self._due is row:
            self._due = None

    # What was done to the run, and where it failed.

    def _trigger(self, event: Event, facts: dict[str, Any]) -> None:
        origin = facts.get("origin")
        if isinstance(origin, dict):
            self.story.origin = {name: text(origin[name]) for name in ("kind", "run_id", "parent") if name in origin}

    def _complete_run(self, event: Event, facts: dict[str, Any]) -> None:
        self.story.continued_as = text(facts.get("continued_by"))

    def _progress(self, event: Event, facts: dict[str, Any]) -> None:
        done, total = (facts.get(name) for name in ("done", "total"))
        if is_number(done):
            note = text(payload_of(event).get("note"))
            self.story.progress = SaidProgress(done, total if is_number(total) else None, note)

    def _restart(self, event: Event, facts: dict[str, Any]) -> None:
        if facts.get("run_id"):
            self.story.restarted_as.append(text(facts["run_id"]))

    def _mark(self, event: Event) -> None:
        reason = text(payload_of(event).get("reason"))
        mark = Mark(event.seq, event.recorded_at, event.type, event.actor or "", reason, event.step_id)
        self.story.marks.append(mark)

    def _fail(self, event: Event, facts: dict[str, Any]) -> None:
        row = self._rows.get(event.step_id) if event.step_id else None
        asked = facts.get("asked")
        self.story.failure = Failure(
            event.seq,
            event.type,
            event.step_id,
            error_of(event),
            number(facts.get("attempts", facts.get("attempt"))),
            number(facts.get("of")) or (row.max_attempts if row else 0),
            event.is_redacted,
            text(facts.get("recorded")),
            None if asked is None else text(asked),
        )

    def _end_failure(self, failure: Failure, type_: EventType) -> None:
        """A failure stands until its run goes on: what it waits for by it is settled, or it lives again."""
        failed = CATALOGUE[failure.type]
        lives_again = failed.ends_run and type_.status == "running"
        if type_.ends_run or lives_again or failed.waits_begun in type_.settles_run:
            self.story.failure = None

    _own: ClassVar[dict[str, Callable[[_Fold, Event, dict[str, Any]], None]]] = {
        types.RUN_TRIGGERED: _trigger,
        types.RUN_COMPLETED: _complete_run,
        types.RUN_PROGRESSED: _progress,
        types.TURN_STARTED: _begin_turn,
        types.TURN_ABANDONED: _lose_turn,
        types.TURN_FAILED: _fail_turn,
        types.STEP_INTENDED: _intend,
        types.STEP_RETRIED: _retry,
        types.STEP_COMPLETED: _end_step,
        types.STEP_FAILED: _end_step,
        types.STEP_RESOLVED: _resolve,
        types.STEP_SUPERSEDED: _supersede,
        types.RUN_FAILED: _fail,
        types.RUN_DIVERGED: _fail,
        types.RUN_REPLAYED: _go_back,
        types.RUN_REWOUND: _go_back,
        types.RUN_RESTARTED: _restart,
    }
