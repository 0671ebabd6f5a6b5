"""A run's history as a turn needs it: read once, and then a step lookup is a dict access."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_hookflow.events import codec, types
from django_hookflow.events.log import RecordedEvent

WAITING, INTENDED, COMPLETED, FAILED = "waiting", "intended", "completed", "failed"


@dataclass
class StepRecord:
    """What the log says of one step: its kind, how it stands, and the payload that says so."""

    kind: str
    state: str = WAITING
    attempts: int = 0
    payload: dict[str, Any] = field(default_factory=dict)
    tagged: bool = False
    wake_at: datetime.datetime | None = None
    is_redacted: bool = False

    def result(self, opened: Callable[[Any], Any]) -> Any:
        """What the step returned; ``opened`` opens what is sealed."""
        value = self.payload["result"]
        return codec.untag(opened(value)) if self.tagged else value


class History:
    """The recorded steps of a run by id, in the order they were first recorded, and what the run was started with."""

    def __init__(self, events: Iterable[RecordedEvent], renamed: Mapping[str, str] | None = None) -> None:
        #: As recorded: None when it has been redacted, else JSON with its tags, and sealed if it is.
        self.data: Any = {}
        self.steps: dict[str, StepRecord] = {}
        #: Failures of the workflow function itself, and turns lost with their workers, since the run last got further.
        self.turn_failures = 0
        self.lost_turns = 0
        self._renamed = renamed or {}
        for event in events:
            self._add(event)
        self._unasked = dict.fromkeys(self.steps)

    def find(self, step_id: str) -> StepRecord | None:
        """The record of a step; the workflow has asked for it now."""
        self._unasked.pop(step_id, None)
        return self.steps.get(step_id)

    def next_unasked(self) -> str | None:
        """The first recorded step the workflow has not asked for in this pass."""
        return next(iter(self._unasked), None)

    def _add(self, event: RecordedEvent) -> None:
        text = event.payload
        payload: dict[str, Any] = json.loads(text) if text else {}
        if event.type == types.RUN_TRIGGERED:
            self.data = (payload.get("data") or {}) if text else None
        elif event.type == types.TURN_FAILED:
            self.turn_failures = payload.get("attempt", self.turn_failures + 1)
        elif event.type == types.TURN_ABANDONED:
            self.lost_turns += 1
        elif event.type == types.RUN_REPLAYED:
            self.turn_failures = self.lost_turns = 0
        elif event.type == types.RUN_WOKEN:
            self._end_sleep(event.recorded_at)
        elif event.step_id is not None and event.type.startswith(("step.", "sleep.")):
            self.turn_failures = self.lost_turns = 0
            self._add_to_step(self._renamed.get(event.step_id, event.step_id), event, payload, '"$' in (text or ""))

    def _end_sleep(self, moment: datetime.datetime) -> None:
        """An operator has woken the run: what it slept in is over, whatever the clock says."""
        for step in self.steps.values():
            if step.state == WAITING and step.wake_at is not None:
                step.wake_at = min(step.wake_at, moment)

    def _add_to_step(self, step_id: str, event: RecordedEvent, payload: dict[str, Any], tagged: bool) -> None:
        if event.type == types.STEP_SUPERSEDED:
            self.steps.pop(step_id, None)
            return
        kind = "sleep" if event.type == types.SLEEP_STARTED else payload.get("kind", "")
        step = self.steps.setdefault(step_id, StepRecord(kind))
        if event.payload is None:
            step.is_redacted = True
            return
        if event.type == types.STEP_COMPLETED:
            step.state, step.payload, step.tagged = COMPLETED, payload, tagged
            step.attempts = payload.get("attempt", 1)
        elif event.type == types.STEP_FAILED:
            step.attempts = payload["attempt"]
            step.payload = payload
            step.state = WAITING if payload.get("retry_in") is not None else FAILED
        elif event.type == types.STEP_INTENDED:
            step.attempts, step.state = payload["attempt"], INTENDED
        elif event.type == types.SLEEP_STARTED:
            step.wake_at = event.recorded_at + datetime.timedelta(seconds=payload["seconds"])
