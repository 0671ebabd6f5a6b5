"""Handing events to subscribers: one short transaction a pass, in which the place in the log moves with what was done."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from django.db import Error, connections, transaction

from django_hookflow.backoff import backoff_seconds
from django_hookflow.clock import clock
from django_hookflow.events.database import alias, cursor, first_line
from django_hookflow.exceptions import NotMigrated
from django_hookflow.feed.positions import Position
from django_hookflow.feed.reader import Feed, FeedEvent, Look, ReadFromStandby, look
from django_hookflow.feed.subscribers import Subscription
from django_hookflow.sql import load

logger = logging.getLogger("django_hookflow.feed")

#: A pass commits after so many events, or seconds, so that what handlers have written is seen and no lock is held long.
EVENTS_PER_PASS, SECONDS_PER_PASS = 100, 1.0
#: Between two looks that find nothing; between two attempts to reach a database that is away.
PAUSE, OUTAGE = 1.0, 2.0
LONGEST_ERROR = 2_000


@dataclass(frozen=True)
class Pass:
    """What a pass came to: events handed over, whether one failed, and whether there may be more at once."""

    handed: int = 0
    failed: bool = False
    more: bool = False


class Delivery:
    """Goes round the subscriptions, each in turn, until it is stopped or all has been handed over.

    Any number of processes may do so: a subscriber whose place another one holds is left to that one.
    """

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self.subscriptions = subscriptions
        self.handed = 0
        self.failed = 0
        self._stopping = False
        self._settled: dict[str, int] = {}  # by name: all positions up to this one have been dealt with
        # SimpleQueue.put is safe in a signal handler, which an Event's set() is not.
        self._wake: SimpleQueue[None] = SimpleQueue()

    def run_once(self) -> None:
        """Hands over what is there now. A subscriber that fails is left where it is, others go on."""
        waiting = list(self.subscriptions)
        while waiting and not self._stopping:
            waiting = [subscription for subscription in waiting if self._attend(subscription).more]

    def run_forever(self) -> None:
        """Hands over what comes until :meth:`stop` is called, which lets the event in hand be finished."""
        while not self._stopping:
            self._wait(self._go_round())

    def stop(self) -> None:
        """Has it return soon. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._wake.put(None)

    def _wait(self, seconds: float) -> None:
        try:
            if seconds > 0:
                self._wake.get(timeout=seconds)
        except Empty:
            return

    def _go_round(self) -> float:
        """One pass for each subscriber that may have something; how long nothing needs to be looked at."""
        try:
            passes = [self._attend(subscription) for subscription in self._find_waiting() if not self._stopping]
            _tidy_connections()
            return 0 if any(done.more for done in passes) else PAUSE
        except NotMigrated:
            raise
        except (Error, ReadFromStandby) as error:
            logger.warning("the database is unavailable, next attempt in %g s: %s", OUTAGE, first_line(error))
            connections[alias()].close()
            self._settled.clear()  # the next one may be another server, which has lost what came last
            return OUTAGE

    def _find_waiting(self) -> list[Subscription]:
        """Those with something to read, as far as one query for all of them shows."""
        with cursor() as c:
            c.execute(load("feed_known"))
            drawn, known = c.fetchone()
        return [
            subscription
            for subscription in self.subscriptions
            if subscription.name not in known or self._settled.get(subscription.name, -1) < drawn
        ]

    def _attend(self, subscription: Subscription) -> Pass:
        try:
            done = self._pass(subscription)
        except (Error, ReadFromStandby):
            raise
        except Exception:  # not from the handler: what it had asked to be done after the commit
            logger.exception("subscriber %s: its position was saved, but a later action failed", subscription.name)
            done = Pass(failed=True)
        self.handed += done.handed
        self.failed += done.failed
        return done

    def _pass(self, subscription: Subscription) -> Pass:
        """Hands over the next events of one subscriber and moves its place on, in one transaction."""
        self._settled.pop(subscription.name, None)
        looked = look()  # before the transaction below has an id, see Feed
        subscribe(subscription)
        with transaction.atomic(using=alias()):
            taken = _take(subscription.name)
            if taken is None:
                return Pass()
            position, failures = taken
            feed = Feed(position, types=subscription.wanted, imported=subscription.imported, looked=looked)
            events = feed.read(EVENTS_PER_PASS)
            handed, error = self._hand_over(subscription, feed, events, failures)
            failures = 0 if error is None else (failures if handed == 0 else 0) + 1
            if error is not None or feed.position != position:
                _save(subscription.name, feed.position, failures, error)
        self._note_settled(subscription.name, feed, looked, failures)
        return Pass(handed, error is not None, more=error is None and (bool(events) or not feed.is_caught_up))

    def _hand_over(
        self, subscription: Subscription, feed: Feed, events: list[FeedEvent], failures: int
    ) -> tuple[int, str | None]:
        """Calls the handler with each event; how many it took, and what it raised. ``feed`` is left behind the last."""
        deadline = clock.monotonic() + SECONDS_PER_PASS
        for handed, event in enumerate(events):
            if handed and (self._stopping or clock.monotonic() > deadline):
                feed.go_back_to(events[handed - 1])
                return handed, None
            try:
                with transaction.atomic(using=alias()):
                    subscription.handler(event.as_model())
                    _check_constraints()
            except Exception as error:
                logger.exception(
                    "subscriber %s failed on event %s of run %s (%s), attempt %s; it will be retried later",
                    *(subscription.name, event.seq, event.run_id, event.type, failures + 1 if handed == 0 else 1),
                )
                feed.go_back_to(events[handed - 1] if handed else None)
                return handed, _describe(error)
        return len(events), None

    def _note_settled(self, name: str, feed: Feed, looked: Look, failures: int) -> None:
        if not failures and feed.position.is_settled_at(looked.drawn):
            self._settled[name] = feed.position.floor


def _tidy_connections() -> None:
    """Those of other databases that handlers may have used, as after a request. Ours stays: it is used each second."""
    for connection in connections.all(initialized_only=True):
        if connection.alias != alias():
            connection.close_if_unusable_or_obsolete()


def subscribe(subscription: Subscription) -> None:
    """Gives a new subscriber its place: the beginning of the log, or the end of what has been appended by now."""
    with cursor() as c:
        c.execute("SELECT FROM django_hookflow_subscriber WHERE name = %s", [subscription.name])
        if c.fetchone() is not None:
            return
    feed = Feed()
    if not subscription.from_start:
        feed.go_to_end()
    with cursor() as c:
        c.execute(load("feed_subscribe"), {"name": subscription.name, "checkpoint": _dump(feed.position)})


def _take(name: str) -> tuple[Position, int] | None:
    with cursor() as c:
        c.execute(load("feed_take"), {"name": name})
        found = c.fetchone()
    return None if found is None else (Position.from_json(json.loads(found[0])), found[1])


def _save(name: str, position: Position, failures: int, error: str | None) -> None:
    values: dict[str, Any] = {
        "name": name,
        "checkpoint": _dump(position),
        "failures": failures,
        "error": error or "",
        "retry_in": backoff_seconds(failures) if error is not None else None,
    }
    with cursor() as c:
        c.execute(load("feed_save"), values)


def _check_constraints() -> None:
    """Here the event is known that breaks one; at the commit it would be the whole pass, again and again."""
    with cursor() as c:
        c.execute(load("feed_constraints"))


def _describe(error: Exception) -> str:
    """What can be stored of it, whatever its text."""
    try:
        text = str(error)
    except Exception as broken:
        text = f"(its text could not be read: {type(broken).__name__})"
    text = f"{type(error).__name__}: {text}"[:LONGEST_ERROR]
    return text.replace("\x00", "").encode("utf-8", "backslashreplace").decode()


def _dump(position: Position) -> str:
    return json.dumps(position.to_json())
