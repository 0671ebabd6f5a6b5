"""Whether relays work, and why a run that has come to a halt has: both read from the outbox, into which nothing is written for it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_hookflow.admin.counts import CAP, format_count
from django_hookflow.conf import conf
from django_hookflow.doctor.relay import patience
from django_hookflow.durations import format_duration
from django_hookflow.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

#: Events among which the last turn that began is looked for.
LOOKED_AT = 1_000


@dataclass(frozen=True)
class Backlog:
    """Announced turns that wait, though they should have been sent. ``is_behind``: relays work, and do not keep up."""

    number: int
    lasts: str
    is_behind: bool
    is_published: bool

    @property
    def sentence(self) -> str:
        runs = f"{format_count(self.number)} run{' waits' if self.number == 1 else 's wait'}"
        if self.is_behind:
            return f"Relays are {self.lasts} behind: {runs}"
        return f"No relay has worked for {self.lasts}: {runs}"

    @property
    def command(self) -> str:
        return "manage.py hookflow_relay --once" if self.is_published else "manage.py hookflow_relay"

    @property
    def advice(self) -> str:
        if self.is_behind:
            return "Start another relay, or raise --concurrency:"
        if self.is_published:
            return "Publishing these failed. A relay sends them again; run this from cron:"
        return "Keep this running:"


def find_backlog(now: datetime.datetime, using: str) -> Backlog | None:
    """None while all that is due is taken."""
    with connections[using].cursor() as cursor:
        cursor.execute(load("list_backlog"), {"now": now, "most": CAP + 1, "looked_at": LOOKED_AT})
        number, oldest, last_turn = cursor.fetchone()
    late = datetime.timedelta(seconds=patience())
    if not number or oldest > now - late:
        return None
    is_published = conf.transport == "qstash"
    is_behind = not is_published and last_turn is not None and last_turn > max(oldest, now - late)
    since = oldest if is_behind or is_published or last_turn is None else max(oldest, last_turn)
    return Backlog(number, lasting(now - since), is_behind, is_published)


def lasting(span: datetime.timedelta) -> str:
    """In minutes, from two of them on: seconds that pass while one reads say nothing."""
    seconds = span.total_seconds()
    return format_duration(60 * (seconds // 60) if seconds >= 120 else round(seconds))


def reasons_stuck(run_uids: Sequence[UUID], now: datetime.datetime, using: str) -> dict[UUID, str]:
    """Of these runs, why those that are stuck are."""
    if not run_uids:
        return {}
    parameters: dict[str, Any] = {"run_uids": list(run_uids), "now": now, "overdue": conf.overdue_seconds}
    with connections[using].cursor() as cursor:
        cursor.execute(load("list_why_stuck"), parameters)
        return {row[0]: _why(now, *row[1:]) for row in cursor.fetchall()}


def _why(now: datetime.datetime, due_at: Any, send_at: Any, attempts: int, lost_at: Any) -> str:
    due = f"due {lasting(now - due_at)} ago"
    if lost_at is not None:
        return f"Its worker was lost {lasting(now - lost_at)} ago, and no relay has picked it up."
    if send_at <= now:
        sent = f", sent {attempts} time{'' if attempts == 1 else 's'} before" if attempts > 1 else ""
        return f"Its turn was {due}{sent}, and no relay has taken it."
    return f"Its turn was {due} and sent {attempts} time{'' if attempts == 1 else 's'}, but has not started: see the workers' log."
