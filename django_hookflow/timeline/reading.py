"""What a story is told from: a run's events, and what the log does not hold, which is only the present."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django_hookflow.events.database import cursor
from django_hookflow.sql import load


@dataclass(slots=True)
class ToldEvent:
    """An event with what a story needs of its payload: results and long texts are left out or cut."""

    seq: int
    type: str
    step_id: str | None
    actor: str | None
    recorded_at: datetime.datetime
    is_redacted: bool
    payload: Any


def events_of(run_uid: UUID, until_seq: int | None = None) -> Iterator[ToldEvent]:
    """The events of a run, in order, up to ``until_seq`` if one is given; redacted ones hold what was retained of them."""
    with cursor() as c:
        c.execute(load("timeline_events"), {"run_uid": run_uid, "until": until_seq})
        events = [ToldEvent(*row) for row in c.fetchall()]
    retained: dict[Any, Any] = {}
    for event in events:
        event.payload = None if event.payload is None else json.loads(event.payload)
        if event.type == "event.retained" and isinstance(event.payload, dict):
            retained[event.payload.get("seq")] = event.payload.get("payload", event.payload)
    for event in events:
        if until_seq is not None and event.seq > until_seq:
            break
        if event.is_redacted:
            event.payload = retained.get(event.seq, event.payload)
        yield event


@dataclass(frozen=True)
class Present:
    """What is going on with a run at the moment ``now``, which is the database's.

    ``kind``, ``seq``, ``due_at``, ``send_at``, ``sent`` (how often) and ``turn_seq`` are of the turn that is announced;
    None, and 0, when none is. ``deadline`` is when the run's time is up, if it has a timeout. ``owner`` is the worker that
    has the lease until ``expires_at``, for the turn that began at ``token``.
    """

    now: datetime.datetime
    kind: str | None = None
    seq: int | None = None
    due_at: datetime.datetime | None = None
    send_at: datetime.datetime | None = None
    sent: int | None = 0
    turn_seq: int | None = None
    deadline: datetime.datetime | None = None
    owner: str | None = None
    token: int | None = None
    expires_at: datetime.datetime | None = None

    @property
    def is_leased(self) -> bool:
        """Whether a worker has the run, as far as is known."""
        return self.expires_at is not None and self.expires_at > self.now

    def is_between_turns(self, last_seq: int) -> bool:
        """Whether a turn is announced and not begun, seen from a log that is known up to ``last_seq``."""
        return self.kind == "turn" and self.turn_seq is None and self.seq is not None and self.seq <= last_seq


def present_of(run_uid: UUID) -> Present:
    """What is going on with a run now."""
    with cursor() as c:
        c.execute(load("timeline_present"), {"run_uid": run_uid})
        return Present(*c.fetchone())
