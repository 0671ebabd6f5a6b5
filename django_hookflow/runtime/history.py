"""A run's history as a turn needs it: read once, and then a step lookup is a dict access."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django_hookflow.events import codec, types
from django_hookflow.events.log import RecordedEvent

#: How a recorded step stands: it waits for what its kind of wait is; its pause is over and the next attempt may begin; an
#: attempt has begun and nobody knows what came of it; or it has come to an end.
SUSPENDED, READY, INTENDED, COMPLETED, FAILED = "suspended", "ready", "intended", "completed", "failed"


@dataclass(slots=True)
class StepRecord:
    """What the log says of one step: its kind, how it stands, and the payload of the event that says so, as text."""

    kind: str = ""
    state: str = READY
    attempts: int = 0
    error: str = ""
    payload: str | None = None
    #: The kind of its wait, while it is suspended.
    waits_for: str = ""
    #: Of the last event that says something of it.
    seq: int = 0
    #: Of a wait that is over: the seq of the event that brought its result, 0 for none; whether its time was up.
    by: int = 0
    is_timed_out: bool = False
    #: Whether the attempt that is to go on has been answered, which is its payload then.
    is_answered: bool = False

    @property
    def is_redacted(self) -> bool:
        """Whether what the step came to is no longer there to be returned or raised."""
        return self.payload is None and self.state in (COMPLETED, FAILED)

    @property
    def has_ended(self) -> bool:
        return self.state in (COMPLETED, FAILED)

    def result(self, opened: Callable[[Any], Any]) -> Any:
        """What the step returned; ``opened`` opens what is sealed."""
        assert self.payload is not None
        value = json.loads(self.payload)["result"]
        return codec.untag(opened(value)) if '"$' in self.payload else value

    def failure(self) -> dict[str, Any]:
        """What its last attempt raised, as ``failures.describe`` describes it."""
        return {"type": self.error, **json.loads(self.payload or "{}")}


@dataclass(frozen=True, slots=True)
class ReceivedSignal:
    """A signal that was sent to the run; ``payload`` is None when it has been redacted."""

    seq: int
    name: str
    payload: str | None


class History:
    """The recorded steps of a run by id, in the order they were first recorded, and what the run was started with."""

    def __init__(
        self, events: Iterable[RecordedEvent], turn_seq: int, renamed: Mapping[str, str] | None = None
    ) -> None:
        #: As recorded: None when it has been redacted, else JSON with its tags, and sealed if it is.
        self.data: Any = {}
        #: The facts of its first event, and the label.
        self.begun: dict[str, Any] = {}
        self.label = ""
        #: How often what was recorded of a step was taken back.
        self.superseded: Counter[str] = Counter()
        self.steps: dict[str, StepRecord] = {}
        #: Failures of the workflow function itself since the run last got further.
        self.turn_failures = 0
        self._signals: dict[int, ReceivedSignal] = {}
        self._taken: set[int] = set()
        #: By which signals steps were completed since the history was read.
        self._learned: dict[str | None, int] = {}
        #: Facts and payloads of what the workflow said of its progress since the last event of a step.
        self.progressed: list[tuple[str, str | None]] = []
        self._renamed = renamed or {}
        self._last_progress = 0
        self._other_turn_events = 0
        for event in events:
            self._add(event)
        # The events that began turns are not among those that are read: each leaves a gap in the sequence.
        turns = turn_seq - self._last_progress - self._other_turn_events
        #: Turns that were lost with their workers or handed back, since the run last got further.
        self.lost_turns = turns - 1 - self.turn_failures
        self._unasked = dict.fromkeys(self.steps)
        self._taken.update(step.by for step in self.steps.values())

    def learn(self, event: RecordedEvent) -> None:
        """Adds what was appended by others after the history was read, as far as it makes a difference to the pass."""
        if event.type == types.SIGNAL_RECEIVED:
            self._add_signal(event)
        elif event.type == types.STEP_COMPLETED:
            by = self._learned[event.step_id] = json.loads(event.facts).get("by", 0)
            self._taken.add(by)
        elif event.type == types.STEP_SUPERSEDED:
            self._taken.discard(self._learned.pop(event.step_id, 0))

    def next_signal(self, name: str) -> ReceivedSignal | None:
        """The oldest signal of this name that no step has taken."""
        return next((each for each in self.untaken_signals() if each.name == name), None)

    def untaken_signals(self) -> Iterator[ReceivedSignal]:
        """The signals that no step has taken, oldest first."""
        return (each for each in self._signals.values() if each.seq not in self._taken)

    def take(self, signal: ReceivedSignal) -> None:
        self._taken.add(signal.seq)

    def find(self, step_id: str) -> StepRecord | None:
        """The record of a step; the workflow has asked for it now."""
        self._unasked.pop(step_id, None)
        return self.steps.get(step_id)

    def forget(self, step_id: str) -> bool:
        """Takes back what is recorded of a step, with the signal that it took; False if nothing is."""
        record = self.steps.pop(step_id, None)
        if record is None:
            return False
        self._taken.discard(self._learned.pop(step_id, record.by))
        self.superseded[step_id] += 1
        return True

    def next_unasked(self) -> str | None:
        """The first recorded step the workflow has not asked for in this pass."""
        return next(iter(self._unasked), None)

    def _add(self, event: RecordedEvent) -> None:
        if event.type.startswith("turn.") or event.type == types.RUN_PROGRESSED:  # which get the run no further
            self._other_turn_events += 1
            if event.type == types.RUN_PROGRESSED:
                self.progressed.append((event.facts, event.payload))
            self.turn_failures += event.type == types.TURN_FAILED
            return
        self._last_progress, self._other_turn_events, self.turn_failures = event.seq, 0, 0
        if event.type == types.RUN_TRIGGERED:
            payload = json.loads(event.payload or "{}")
            self.data = None if event.payload is None else payload.get("data") or {}
            self.begun, self.label = json.loads(event.facts), payload.get("label", "")
        elif event.type == types.SIGNAL_RECEIVED:
            self._add_signal(event)
        elif event.step_id is not None and event.type.startswith("step."):
            self._add_to_step(self._renamed.get(event.step_id, event.step_id), event)

    def _add_signal(self, event: RecordedEvent) -> None:
        name = json.loads(event.facts).get("name", "")
        self._signals[event.seq] = ReceivedSignal(event.seq, name, event.payload)

    def _add_to_step(self, step_id: str, event: RecordedEvent) -> None:
        if event.type == types.STEP_SUPERSEDED:
            self.steps.pop(step_id, None)
            self.superseded[step_id] += 1
            return
        self.progressed.clear()
        facts: dict[str, Any] = json.loads(event.facts)
        step = self.steps.setdefault(step_id, StepRecord())
        step.seq = event.seq
        if event.type == types.STEP_SUSPENDED:
            step.state, step.waits_for = SUSPENDED, facts["kind"]
            step.kind = step.kind or facts.get("step_kind") or facts["kind"]
        elif event.type == types.STEP_RETRIED:
            step.state = READY
            step.is_answered, step.is_timed_out = facts.get("answered", False), facts.get("timed_out", False)
            step.payload = event.payload if step.is_answered else step.payload
        elif event.type != types.STEP_RESOLVED:
            step.kind, step.attempts = facts["kind"], facts["attempt"]
            step.error, step.payload = facts.get("error", ""), event.payload
            step.by, step.is_timed_out = facts.get("by", 0), facts.get("timed_out", False)
            step.state = _STATES[event.type]


_STATES = {types.STEP_INTENDED: INTENDED, types.STEP_COMPLETED: COMPLETED, types.STEP_FAILED: FAILED}
