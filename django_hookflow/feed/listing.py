"""The subscribers there are, in the code and in the database, for people."""

from __future__ import annotations

from collections.abc import Iterator

from django_hookflow.events.database import alias
from django_hookflow.feed.positions import Position
from django_hookflow.feed.reader import look
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.models import Subscriber


def list_subscribers() -> Iterator[str]:
    """A line for each subscriber: its name, its types, how far it has come, and what keeps it from going on."""
    stored = {row.name: row for row in Subscriber.objects.using(alias())}
    registered = {subscription.name: subscription for subscription in registered_subscriptions()}
    drawn = look().drawn
    for name in sorted(stored.keys() | registered.keys()):
        types = ", ".join(registered[name].types) if name in registered else "no function in this project has this name"
        yield f"{name} ({types}): {_describe(stored.get(name), drawn)}"


def _describe(row: Subscriber | None, drawn: int) -> str:
    if row is None:
        return "not run yet"
    reached = Position.from_json(row.checkpoint).reached
    text = f"read to position {reached} of {drawn}"
    if row.retry_at is not None:
        text += f", failed {row.failures} times in a row, next attempt at {row.retry_at.isoformat()}: {row.last_error}"
    return text
