"""What a story is made of: a run's events, and what the log does not hold, which is only the present."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django_hookflow.events.database import cursor
from django_hookflow.events.types import CATALOGUE
from django_hookflow.sql import load

#: The types whose payloads hold what a story shows: why something was done, and what went wrong.
REASONED = [each.name for each in CATALOGUE.values() if "reason" in each.payload]
TEXTS = ("reason", "message", "traceback", "note")
FAILED = [each.name for each in CATALOGUE.values() if "message" in each.payload]


@dataclass(slots=True)
class EventExcerpt:
    """An event with what a story needs of it: all facts, and of the payload a reason, an error or a note, cut; else None."""

    seq: int
    type: str
    step_id: str | None
    actor: str | None
    recorded_at: datetime.datetime
    is_redacted: bool
    facts: Any
    payload: Any = None


def events_of(run_uid: UUID, until_seq: int | None = None) -> Iterator[EventExcerpt]:
    """The events of a run, in order, up to ``until_seq`` if one is given; redacted ones hold what was retained of them."""
    with cursor() as c:
        parameters = {"run_uid": run_uid, "until": until_seq, "reasoned": REASONED, "failed": FAILED}
        c.execute(load("timeline_events"), parameters)
        rows = c.fetchall()
    for seq, type_, step_id, actor, recorded_at, is_redacted, facts, *texts in rows:
        payload = None
        if any(texts):
            payload = {name: text for name, text in zip(TEXTS, texts, strict=True) if text is not None}
        yield EventExcerpt(seq, type_, step_id, actor, recorded_at, is_redacted, json.loads(facts), payload)


@dataclass(frozen=True)
class Present:
    """What is going on with a run at the moment ``now``, which is the database's.

    ``kind``, ``seq``, ``due_at`` (None: at once), ``announced_at``, ``send_at``, ``sent`` (how often) and ``turn_seq`` are of
    the turn that is announced; None when none is. ``owner`` is the worker that has the lease from ``renewed_at`` to
    ``expires_at``, for the turn that began at ``token``.
    """

    now: datetime.datetime
    kind: str | None = None
    seq: int | None = None
    due_at: datetime.datetime | None = None
    announced_at: datetime.datetime | None = None
    send_at: datetime.datetime | None = None
    sent: int | None = None
    turn_seq: int | None = None
    owner: str | None = None
    token: int | None = None
    renewed_at: datetime.datetime | None = None
    expires_at: datetime.datetime | None = None

    @property
    def is_leased(self) -> bool:
        """Whether a worker has the run, as far as is known; a lease that begins later is of before the clock went back."""
        return self.expires_at is not None and (self.renewed_at or self.now) <= self.now < self.expires_at

    def is_between_turns(self, last_seq: int) -> bool:
        """Whether a turn is announced and not begun, seen from a log that is known up to ``last_seq``."""
        return self.kind == "turn" and self.turn_seq is None and self.seq is not None and self.seq <= last_seq


def present_of(run_uid: UUID) -> Present:
    """What is going on with a run now."""
    with cursor() as c:
        c.execute(load("timeline_present"), {"run_uid": run_uid})
        return Present(*c.fetchone())
