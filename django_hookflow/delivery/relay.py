"""The relay: the loop that sends what is due. Any number of them may run, and any of them may die at any moment.

One thread looks into the outbox and hands messages to a crew of workers, never more than there are free hands, so that
what is taken is sent at once. While there is more than it can take it does not look first; when there is nothing it looks
ever more rarely, down to one index-only query a second, until it is woken (:mod:`.wakeup`). All relays are woken at once:
those that find nothing leave it to the others for a moment, longer each time, and less long as they find something again.

While there is more than it can take, every other look takes runs that have not begun, the newest first. So a new run begins
soon, however many woke or were triggered before it in the same second, and of all others what is oldest is always among the
next: half of the hands are for it. By age and not by workflow, since a crowd is as likely to be of one workflow as of many.
Of all messages the newest would not do: a crowd whose runs take many turns announces newer ones all the time.

Where the relay runs turns itself they begin as it takes their messages, in one statement (``hookflow_take``). Each worker keeps its
connections, sends with no transaction open and puts a message that failed back into the outbox, later each time. A
message that arrived needs nothing: its turn moves or ends its row.
"""

from __future__ import annotations

import datetime
import logging
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from django.db import DatabaseError, Error, connections

from django_hookflow.backoff import backoff_seconds
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports import SendFailed, Transport, get_transport, hand_over
from django_hookflow.delivery.transports.base import Receive
from django_hookflow.delivery.transports.inline import InlineTransport
from django_hookflow.delivery.wakeup import Listener
from django_hookflow.events.database import alias, first_line, is_connection_lost
from django_hookflow.events.log import Beginning
from django_hookflow.exceptions import NotMigrated

logger = logging.getLogger("django_hookflow.delivery")

#: The pause between two looks that find nothing doubles from the first to the second.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 1.0
#: The same between two attempts to reach a database that is away.
SHORTEST_OUTAGE, LONGEST_OUTAGE = 0.5, 15.0
#: Seconds after which a worker asks whether its connection still works before it uses it.
TRUSTED_FOR = 1.0
#: Seconds for which a relay that has more to do than hands waits for several of them to get free.
GATHERING = 0.005
#: Seconds: a relay that was woken in vain, because another was quicker, looks so much later when it is woken the next time,
#: and twice as late each time from the first to the second; half as late when it was the first. So one relay is quick as long as
#: it keeps up, and the others are not.
SHORTEST_RELUCTANCE, LONGEST_RELUCTANCE = 0.005, 0.1
#: Seconds: a clock that goes back by less makes nothing late that anybody would notice.
CLOCK_STEP = 1.0


class Relay:
    """Sends by ``transport`` (an object, a name, or None for the configured one), ``concurrency`` messages at a time."""

    def __init__(
        self,
        transport: Transport | str | None = None,
        receive: Receive | None = None,
        concurrency: int = 8,
        beginning: Callable[[str], Beginning | None] | None = None,
    ) -> None:
        if transport is None or isinstance(transport, str):
            transport = get_transport(transport, receive=receive)
        self.transport = transport
        self.concurrency = concurrency
        self._beginning = beginning if isinstance(self.transport, InlineTransport) else None
        self.sent = 0
        self.failed = 0
        self._in_flight = 0
        self._more = False  # the last look filled all hands, so there may be more
        self._is_new_first = False
        self._pause = SHORTEST_PAUSE
        self._is_woken = False
        self._reluctance = 0.0
        self._outage = 0.0
        self._now: datetime.datetime | None = None
        self._stopping = False
        self._jobs: SimpleQueue[Message | None] = SimpleQueue()
        # SimpleQueue.put is safe in a signal handler, which an Event's set() is not; None stands for "look up".
        self._outcomes: SimpleQueue[bool | None] = SimpleQueue()

    def run_once(self) -> int:
        """Sends everything that is due at this moment, waits for it, and returns how many messages were sent."""
        before = self.sent
        with self._crew():
            _, start = self._next_due()
            while not self._stopping:
                if not self._free:
                    self._wait(None)
                elif not self._hand_out(self._take(until=start)):
                    break
            self._finish()
        return self.sent - before

    def run_forever(self) -> None:
        """Sends what comes due until :meth:`stop` is called, then finishes what is in flight."""
        with self._crew(), Listener(alias(), self._look_up):
            while not self._stopping:
                self._wait(self._attend())
            self._finish()

    def stop(self) -> None:
        """Has the relay take nothing more and return. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._look_up()

    def _look_up(self) -> None:
        self._outcomes.put(None)

    @property
    def _free(self) -> int:
        return self.concurrency - self._in_flight

    def _attend(self) -> float:
        """Sends what is due as far as hands are free; returns how long nothing needs to be looked at."""
        try:
            pause = self._look()
            self._outage = 0.0
            return pause
        except NotMigrated:
            raise
        except Error as error:
            self._outage = min(LONGEST_OUTAGE, max(SHORTEST_OUTAGE, self._outage * 2))
            logger.warning("the database is unavailable, next attempt in %g s: %s", self._outage, first_line(error))
            connections[alias()].close()
            return self._outage

    def _look(self) -> float:
        if not self._free:
            return LONGEST_PAUSE  # a worker that gets free ends it
        is_woken, self._is_woken = self._is_woken, False
        due_in = 0.0 if self._more or is_woken else self._due_in()
        if due_in is not None and due_in <= 0 and self._hand_out(self._take()):
            self._pause = SHORTEST_PAUSE
            self._reluctance = self._reluctance / 2 if self._reluctance > SHORTEST_RELUCTANCE else 0.0
            return 0.0 if self._more else SHORTEST_PAUSE
        if is_woken:
            self._reluctance = min(max(SHORTEST_RELUCTANCE, self._reluctance * 2), LONGEST_RELUCTANCE)
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        return min(pause, due_in) if due_in is not None and due_in > 0 else pause

    def _take(self, until: datetime.datetime | None = None) -> list[Message]:
        free = self._free
        self._is_new_first = self._more and not self._is_new_first
        messages = self._take_and_begin(free, until)
        self._more = len(messages) == free
        return messages

    def _take_and_begin(self, free: int, until: datetime.datetime | None) -> list[Message]:
        take = partial(outbox.take_due, free, until=until, is_new_first=self._is_new_first)
        beginning = self._beginning(self.transport.name) if self._beginning else None
        if beginning is None:
            return take()
        try:
            return take(beginning=beginning)
        except DatabaseError as error:
            if isinstance(error, NotMigrated) or is_connection_lost(error):
                raise
            # A run that cannot be begun is not to keep others from it.
            logger.warning("turns could not be started in a batch and are started one by one: %s", error)
            return take()

    def _due_in(self) -> float | None:
        """Seconds until something is to be sent; None when nothing is announced."""
        due_at, now = self._next_due()
        return None if due_at is None else (due_at - now).total_seconds()

    def _next_due(self) -> tuple[datetime.datetime | None, datetime.datetime]:
        """When something is to be sent, and what time it is. After the clock went back, what is due is due at once."""
        due_at, now = outbox.next_due()
        is_back = self._now is not None and (self._now - now).total_seconds() > CLOCK_STEP
        if (self._now is None or is_back) and outbox.catch_up(is_back=is_back):
            due_at, now = outbox.next_due()
        self._now = now
        return due_at, now

    def _hand_out(self, messages: list[Message]) -> int:
        for message in messages:
            self._in_flight += 1
            self._jobs.put(message)
        return len(messages)

    def _finish(self) -> None:
        while self._in_flight:
            self._wait(None)

    def _wait(self, seconds: float | None) -> None:
        """Waits for a worker to report or for ``seconds``, and counts all that has been reported.

        While there is more to do than hands, it waits a moment for others to get free: what is taken together costs less.
        """
        busy = self._in_flight
        try:
            self._count(self._outcomes.get(timeout=seconds))
        except Empty:
            if seconds == LONGEST_PAUSE:
                self._reluctance = 0.0
            return
        began = monotonic()
        while True:
            pause = 0.0
            if self._more and self._free * 2 < self.concurrency:
                pause = GATHERING
            elif self._is_woken and self._in_flight == busy and not self._stopping:
                pause = self._reluctance
            try:
                self._count(self._outcomes.get(timeout=max(0.0, began + pause - monotonic())))
            except Empty:
                return

    def _count(self, outcome: bool | None) -> None:
        if outcome is None:
            self._is_woken = True
            return
        self._in_flight -= 1
        self._pause = SHORTEST_PAUSE  # a turn that ended may have announced the next
        if outcome:
            self.sent += 1
        else:
            self.failed += 1

    @contextmanager
    def _crew(self) -> Iterator[None]:
        workers = [threading.Thread(target=self._work, name=f"hookflow-relay-{i}") for i in range(self.concurrency)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            for _ in workers:
                self._jobs.put(None)
            for worker in workers:
                worker.join()

    def _work(self) -> None:
        used_at = -TRUSTED_FOR
        try:
            while (message := self._jobs.get()) is not None:
                _keep_connections(is_checked=monotonic() - used_at > TRUSTED_FOR)
                delivered = self._deliver(message)
                used_at = monotonic()
                self._outcomes.put(delivered)
        finally:
            connections.close_all()

    def _deliver(self, message: Message) -> bool:
        retry_in: float | None = None
        try:
            hand_over(self.transport, message)
            return True
        except SendFailed as error:
            retry_in = error.retry_after
            logger.warning("%s was not delivered: %s", message, error)
        except BaseException:  # a workflow run inline may even call sys.exit(): it must not take a worker with it
            logger.exception("%s was not delivered", message)
        _keep_connections(is_checked=True)  # what failed may have been the connection
        try:
            outbox.reschedule(message, backoff_seconds(message.attempt) if retry_in is None else retry_in)
        except Error as error:
            logger.warning(
                "%s could not be returned to the outbox and will be retried when overdue: %s", message, error
            )
        return False


def _keep_connections(*, is_checked: bool) -> None:
    """Closes what is broken or, where ``CONN_MAX_AGE`` sets an age, too old. An age of 0 means a connection for each request
    of a browser; a relay works on without one."""
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["CONN_MAX_AGE"] == 0:
            connection.close_at = None
        if connection.connection is not None and (is_checked or _was_told_something(connection)):
            connection.errors_occurred = True  # then Django asks
        connection.close_if_unusable_or_obsolete()


def _was_told_something(connection: Any) -> bool:
    """Whether the server has said anything since its last answer. That is how it ends a session, at any time."""
    if connection.vendor != "postgresql":
        return False
    if connection.connection.closed:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(connection.connection, selectors.EVENT_READ)
        return bool(selector.select(0))
