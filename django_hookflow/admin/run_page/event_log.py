"""The event log of a run's page: a window of it, filtered, with links to the windows beside it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from psycopg import sql

from django_hookflow.admin.display import Shown, indent_json, show_text
from django_hookflow.events.database import cursor
from django_hookflow.events.types import DOUBT
from django_hookflow.sql import load

EVENTS_PER_PAGE = 50
#: Characters of one payload, or result, that the page of a run shows.
MAX_SHOWN = 2_000

#: What the log can be filtered by: a type, or all of them that begin so.
FAMILIES = {
    "run.": "of the run",
    "turn.": "turns",
    "step.": "steps",
    "step.completed": "steps that completed",
    "step.failed": "attempts that failed",
    "step.suspended": "waits that began",
    "event.": "redactions",
}


@dataclass(frozen=True)
class ShownEvent:
    seq: int
    type: str
    step_id: str | None
    actor: str | None
    recorded_at: datetime.datetime
    facts: str
    payload_text: str | None
    payload_size: int | None
    is_redacted: bool
    hash: str
    is_superseded: bool

    @property
    def kind(self) -> str | None:
        """Of step, or of what is waited for."""
        kind: str | None = json.loads(self.facts).get("kind")
        return kind

    @cached_property
    def shown_facts(self) -> Shown | None:
        """What the engine recorded; it never holds a value of a workflow's, and everybody may see it."""
        return None if self.facts == "{}" else Shown(indent_json(self.facts), len(self.facts))

    @cached_property
    def payload(self) -> Shown | None:
        return show_text(self.payload_text, self.payload_size, MAX_SHOWN)

    @property
    def tone(self) -> str:
        """Of the mark beside it: the events that someone looks for stand out."""
        if self.type.endswith((".failed", ".diverged", ".abandoned")) or self.kind == DOUBT:
            return "bad"
        return "good" if self.type.endswith(".completed") else ""


@dataclass(frozen=True)
class Choice:
    """What the address asks for: the window, and the filters."""

    type: str = ""
    step_id: str = ""
    seq: int | None = None
    before: int | None = None
    after: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Choice:
        type_ = query.get("type", "")
        seq, before, after = (number(query.get(name)) for name in ("seq", "before", "after"))
        return cls(
            type_ if type_ in FAMILIES else "", query.get("step", "").replace("\0", "")[:255], seq, before, after
        )

    @property
    def is_filtered(self) -> bool:
        return bool(self.type or self.step_id)

    def query(self, **changes: Any) -> str:
        """The same filters in another window, as the rest of an address."""
        asked = {"type": self.type, "step": self.step_id, **changes}
        return urlencode({name: value for name, value in asked.items() if value not in ("", None)})


@dataclass(frozen=True)
class Window:
    """Some events in order; ``earlier`` and ``later`` are the queries for those before and after, if there are any."""

    events: list[ShownEvent]
    choice: Choice
    until: int
    earlier: str = ""
    later: str = ""


def read_window(run_uid: UUID, choice: Choice, until: int, *, payloads: bool) -> Window:
    """The window that is asked for, or the last one; never more than EVENTS_PER_PAGE events, none later than ``until``."""
    after, before = bounds(choice, until)
    forward = choice.seq is not None or choice.after is not None
    with cursor() as c:
        statement = sql.SQL(load("page_events")).format(direction=sql.SQL("ASC" if forward else "DESC"))
        c.execute(
            statement,
            {
                "run_uid": run_uid,
                "until": until,
                "after": after,
                "before": before,
                "type": choice.type,
                "step_id": choice.step_id,
                "payloads": payloads,
                "shown": MAX_SHOWN,
                "limit": EVENTS_PER_PAGE + 1,
            },
        )
        events = [ShownEvent(*row) for row in c.fetchall()]
    return cut_window(events, choice, until, forward=forward, after=after, before=before)


def bounds(choice: Choice, until: int) -> tuple[int, int]:
    """Between which seqs the window lies, neither included."""
    if choice.seq is not None:  # a permalink: with what came shortly before it
        return max(0, min(choice.seq, until) - EVENTS_PER_PAGE // 2), until + 1
    if choice.after is not None:
        return choice.after, until + 1
    return 0, until + 1 if choice.before is None else choice.before


def cut_window(
    events: list[ShownEvent], choice: Choice, until: int, *, forward: bool, after: int, before: int
) -> Window:
    """The window without the event too many, which only shows whether there are more."""
    has_more = len(events) > EVENTS_PER_PAGE
    if has_more:
        events = events[:-1] if forward else events[1:]
    if not events:
        return Window([], choice, until)
    has_earlier = after > 0 if forward else has_more
    has_later = has_more if forward else before <= until
    return Window(
        events,
        choice,
        until,
        earlier=choice.query(before=events[0].seq) if has_earlier else "",
        later=choice.query(after=events[-1].seq) if has_later else "",
    )


def number(text: str | None) -> int | None:
    """The seq that a text names; None if it is none that a run can have."""
    text = (text or "").strip().removeprefix("#")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return int(text)
