"""The area ``subscribers``: functions that are handed events, and those that are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from django_hookflow.doctor.findings import Finding, info, ok, warning
from django_hookflow.durations import format_duration
from django_hookflow.events.database import cursor
from django_hookflow.feed.positions import Position
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

#: Events are handed over within seconds, or from cron.
PATIENCE_SECONDS = 600.0
SERVE = "Keep manage.py hookflow_subscribers running, or run it with --once from cron."
FORGET = "If the function was removed for good, delete its row from django_hookflow_subscriber."


class Stored(NamedTuple):
    name: str
    checkpoint: str
    failures: int
    is_failing: bool
    stands_for: float
    drawn: int

    @property
    def unread(self) -> int:
        """How many positions have been drawn since; an event that was rolled back has one, too."""
        return max(0, self.drawn - Position.from_json(json.loads(self.checkpoint)).reached)


def look_at_subscribers(visit: Visit) -> Iterator[Finding]:
    with cursor() as c:
        c.execute(load("doctor_subscribers"))
        stored = {row[0]: Stored(*row) for row in c.fetchall()}
    registered = {subscription.name for subscription in registered_subscriptions()}
    found = [finding for name in sorted(stored.keys() | registered) for finding in _look_at(name, stored, registered)]
    fine = f"Subscribers: {len(registered)}, all up to date." if registered else "There are no subscribers."
    yield from found or [ok("subscribers.fine", fine)]


def _look_at(name: str, stored: dict[str, Stored], registered: set[str]) -> Iterator[Finding]:
    row = stored.get(name)
    if row is None:
        yield warning("subscribers.not_served", f"{name} has not run yet.", SERVE)
    elif name not in registered:
        yield info("subscribers.unknown", f"{name} is in the database, but no function has this name.", FORGET)
    elif row.is_failing:
        yield warning(
            "subscribers.failing",
            f"{name} has failed {row.failures} times in a row on the same event and cannot continue.",
            "manage.py hookflow_subscribers --list shows the error. Delivery continues once the function is fixed.",
        )
    elif row.unread and row.stands_for > PATIENCE_SECONDS:
        stands = f"{name} has not advanced for {format_duration(round(row.stands_for))}, and is {row.unread:,} positions behind."
        yield warning("subscribers.behind", stands, SERVE)
