"""The registry of subscribers, for a while without what tests and apps have put there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django_hookflow.feed import subscribers


@contextmanager
def no_subscriptions() -> Iterator[None]:
    before = dict(subscribers._subscriptions)
    subscribers._subscriptions.clear()
    try:
        yield
    finally:
        subscribers._subscriptions.clear()
        subscribers._subscriptions.update(before)
