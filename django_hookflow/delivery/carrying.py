"""The message of the stateless mode: the hint that a run has a turn to take, together with the history of the run.

The transport signs the body, so nobody else can have written the history. What is in it is what the log would hold: facts
and payloads as they were encoded, and sealed where a seal is configured. Messages of 0.0.x, which carried results by step,
are read as such histories.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from django.conf import settings

from django_hookflow.conf import conf
from django_hookflow.delivery.messages import MAX_NAME, BadMessage, Message
from django_hookflow.events import codec, types
from django_hookflow.events.log import RecordedEvent
from django_hookflow.exceptions import HistoryTooLarge, NotSerializable

#: Bytes kept free for what a message says beside the history.
ENVELOPE = 4096
#: Bytes of what 0.0.x carried; PostgreSQL takes no more in a value, and no body is as long.
MAX_CARRIED = 2**30


@dataclass(frozen=True)
class CarryingMessage(Message):
    """``seq`` is where the turn that sends it began, so that all that one delivery leads to is one publication.

    ``due_at`` is when the turn is due, in seconds since 1970 by the clock of who sends it.
    """

    events: tuple[str, ...] = ()
    due_at: float = 0.0

    def body(self) -> bytes:
        fields = {
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "seq": self.seq,
            "kind": self.kind,
            "attempt": self.attempt,
            "due_at": self.due_at,
        }
        head = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return f'{head[:-1]},"history":[{",".join(self.events)}]}}'.encode()


@dataclass(frozen=True)
class Carried:
    """What a delivery says beside naming the run."""

    events: list[RecordedEvent]
    due_at: float = 0.0
    attempt: int = 1


@dataclass(frozen=True)
class Predecessors:
    """What a message of 0.0.x carries, as JSON text: the data its run began with, and the results of its steps in order."""

    data: str
    results: dict[str, str]

    @property
    def steps(self) -> str:
        """The results as one JSON object."""
        return f"{{{','.join(f'{_encode(step_id)}:{result}' for step_id, result in self.results.items())}}}"

    def as_history(self) -> Carried:
        facts = _dump({"kind": types.IMPORTED, "attempt": 1, "took": 0})
        completed = (
            RecordedEvent(seq, types.STEP_COMPLETED, step_id, facts, f'{{"result":{result}}}')
            for seq, (step_id, result) in enumerate(self.results.items(), 2)
        )
        return Carried([RecordedEvent(1, types.RUN_TRIGGERED, None, "{}", f'{{"data":{self.data}}}'), *completed])


def size_limit() -> int:
    """The bytes that a history may have: what our own webhook accepts. A plan of QStash's may allow less."""
    django_limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    limit = conf.max_payload_size if django_limit is None else min(conf.max_payload_size, django_limit)
    return max(0, limit - ENVELOPE)


def size_of(events: Iterable[str]) -> int:
    """The bytes that these events take in a message."""
    return sum(len(event.encode()) + 1 for event in events)


def check_size(size: int) -> None:
    """Raises HistoryTooLarge if a history of so many bytes does not go into one message."""
    limit = size_limit()
    if size > limit:
        raise HistoryTooLarge(size, limit)


def as_text(event: RecordedEvent) -> str:
    """An event as it stands in the body."""
    names = json.dumps([event.seq, event.type, event.step_id], ensure_ascii=False, separators=(",", ":"))
    return f"{names[:-1]},{event.facts},{event.payload or 'null'}]"


def read(content: dict[str, Any]) -> Carried:
    """What the body of a delivery carries. Raises BadMessage."""
    history, due_at, attempt = content.get("history"), content.get("due_at", 0), content.get("attempt", 1)
    if not isinstance(history, list) or not history or not all(map(_is_event, history)):
        raise BadMessage("history is not a list of events")
    if history[0][1] != types.RUN_TRIGGERED or any(one[0] >= two[0] for one, two in pairwise(history)):
        raise BadMessage("the history does not begin with a trigger, or is out of order")
    if not isinstance(due_at, (int, float)) or not isinstance(attempt, int):
        raise BadMessage("due_at or attempt is not a number")
    events = [
        RecordedEvent(seq, type_, step_id, _dump(facts), None if payload is None else _dump(payload))
        for seq, type_, step_id, facts, payload in history
    ]
    return Carried(events, due_at, attempt)


def read_predecessors(content: dict[str, Any]) -> Predecessors:
    """What a message of 0.0.x carries. Raises BadMessage."""
    data, steps = content.get("data", {}), content.get("completed_steps")
    if not isinstance(data, dict) or not isinstance(steps, dict):
        raise BadMessage("data, or completed_steps, is not an object")
    if not all(0 < len(name) <= MAX_NAME for name in (str(content["workflow_id"]), str(content["run_id"]), *steps)):
        raise BadMessage(f"an id is empty or has more than {MAX_NAME} characters")
    try:
        return Predecessors(_encode(data), {step_id: _encode(result) for step_id, result in steps.items()})
    except NotSerializable as error:
        raise BadMessage(str(error)) from error


def _is_event(event: Any) -> bool:
    if not isinstance(event, list) or len(event) != 5:
        return False
    seq, type_, step_id, facts, payload = event
    return (
        isinstance(seq, int)
        and isinstance(type_, str)
        and type_ in types.CATALOGUE
        and isinstance(step_id, (str, type(None)))
        and isinstance(facts, dict)
        and isinstance(payload, (dict, type(None)))
    )


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _encode(value: Any) -> str:
    return codec.encode(value, path="completed_steps", limit=MAX_CARRIED)
