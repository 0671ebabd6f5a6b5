"""Wakes relays that have nothing to do: who commits an announcement that is due now and that a relay has to send notifies
them, after the commit and as a statement of its own, because a commit that notifies takes a lock on the whole server.

Nothing depends on it. A relay looks into the outbox all the same, if more rarely, and finds what was not announced so:
where notifications do not get through a connection pooler, or in the few milliseconds between two of them.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import psycopg
from django.db import Error, connections, transaction

CHANNEL = "django_hookflow_outbox"
#: Seconds: at most one notification of a process in this time. A relay that was woken looks again soon after.
BETWEEN = 0.005
#: Seconds until a listener that lost its connection, or got none, tries again.
RETRY = 5.0

logger = logging.getLogger("django_hookflow.delivery")

_last: dict[str, float] = {}


def notify_after_commit(*, using: str) -> None:
    """Wakes the relays once the transaction on ``using`` commits."""
    transaction.on_commit(partial(_notify, using), using=using, robust=True)


def _notify(using: str) -> None:
    now = monotonic()
    if now - _last.get(using, 0.0) < BETWEEN:
        return
    _last[using] = now
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    except Error as error:  # the announcement stands, and a relay finds it a little later
        logger.info("could not notify the relays: %s", error)


class Listener:
    """A thread that calls ``wake`` when something was announced; a context manager.

    It has a connection of its own. There is none where a pooler gives each transaction another session, which Django is
    told by ``DISABLE_SERVER_SIDE_CURSORS``: notifications would go to whoever has the session then.
    """

    def __init__(self, using: str, wake: Callable[[], None]) -> None:
        self._using = using
        self._wake = wake
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="hookflow-listener", daemon=True)

    def __enter__(self) -> Listener:
        if not connections[self._using].settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        if self._thread.is_alive():
            self._thread.join()
        self._ending.close()

    def _run(self) -> None:
        parameters = connections[self._using].get_connection_params()
        while not self._is_ended(0.0):
            try:
                with psycopg.connect(**parameters, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self._wake()  # for what was announced while nobody listened
                    self._pass_on(connection)
            except (psycopg.Error, OSError) as error:
                logger.info("could not listen for notifications, next attempt in %s s: %s", RETRY, error)
                self._is_ended(RETRY)

    def _pass_on(self, connection: psycopg.Connection[Any]) -> None:
        """Waits on the socket and not in psycopg, whose waiting cannot be ended from outside before its version 3.2."""
        server = connection.pgconn
        while not self._is_ended(None, server.socket):
            server.consume_input()
            woken = False
            while server.notifies() is not None:
                woken = True
            if woken:
                self._wake()

    def _is_ended(self, seconds: float | None, *sockets: int) -> bool:
        """Waits for the end, for ``seconds``, or for something to read from ``sockets``; whether it was the end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ending, selectors.EVENT_READ, True)
            for other in sockets:
                selector.register(other, selectors.EVENT_READ, False)
            return any(key.data for key, _ in selector.select(seconds))
