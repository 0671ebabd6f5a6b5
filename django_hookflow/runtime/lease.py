"""Keeps the leases of turns alive while their steps are long.

One thread a process renews every lease when a third of its time is over, on a connection of its own, which it opens for
the first renewal and closes when no turn is left; short turns end before theirs. When the process stops, is stopped
(SIGSTOP) or dies, so do the renewals, and its leases run out. A renewal that finds the run gone is a sign to the turn,
which ends before its next step.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from time import monotonic
from types import TracebackType
from uuid import UUID

from django.db import Error, connections

from django_hookflow.events import log
from django_hookflow.events.database import alias

logger = logging.getLogger("django_hookflow.lease")


class Heartbeat:
    """A context manager that has the lease of a turn renewed until it is left. ``lost``: the run has gone."""

    def __init__(self, run_uid: UUID, turn_seq: int, lease_seconds: float) -> None:
        self.run_uid = run_uid
        self.turn_seq = turn_seq
        self.lease_seconds = lease_seconds
        self.lost = False
        self.due = 0.0

    def __enter__(self) -> Heartbeat:
        _renewer.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _renewer.remove(self)

    def beat(self) -> None:
        """Renews the lease. An error is not the end of the turn: the next beat tries again, and the fence holds anyway."""
        try:
            self.lost = not log.renew(self.run_uid, self.turn_seq, self.lease_seconds)
        except Exception as error:  # whatever it was, other turns' leases are to be renewed
            logger.warning("hookflow: the lease of run %s could not be renewed: %s", self.run_uid, error)
            _close_connection()


class _Renewer:
    """The thread and the turns it beats for. It ends once there have been none for as long as it had planned to wait."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._beating: set[Heartbeat] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0
        self._has_renewed = False

    def add(self, heartbeat: Heartbeat) -> None:
        if self._pid != os.getpid():  # a forked child has its parent's set, but not its thread
            self._forget()
        heartbeat.due = monotonic() + heartbeat.lease_seconds / 3
        with self._condition:
            self._beating.add(heartbeat)
            if self._thread is None:
                self._wakes_at, self._has_renewed = heartbeat.due, False
                self._thread = threading.Thread(target=self._renew_all, name="hookflow-leases", daemon=True)
                self._thread.start()
            elif heartbeat.due < self._wakes_at:
                self._condition.notify()

    def remove(self, heartbeat: Heartbeat) -> None:
        with self._condition:
            self._beating.discard(heartbeat)
            if self._has_renewed and not self._beating:  # it holds a connection, which nobody else is to wait for
                self._wakes_at = 0.0
                self._condition.notify()

    def _renew_all(self) -> None:
        try:
            while self._wait():
                for heartbeat in self._due():
                    self._has_renewed = True
                    heartbeat.beat()
                    if heartbeat.lost:
                        self.remove(heartbeat)
        finally:
            _close_connection()

    def _wait(self) -> bool:
        """Waits until the next lease is to be renewed. False when there has been none while it waited."""
        with self._condition:
            while (pause := self._wakes_at - monotonic()) > 0:
                self._condition.wait(pause)
                self._wakes_at = min((each.due for each in self._beating), default=self._wakes_at)
            if not self._beating:
                self._thread = None
            return bool(self._beating)

    def _due(self) -> list[Heartbeat]:
        now = monotonic()
        with self._condition:
            due = [each for each in self._beating if each.due <= now]
            for each in due:
                each.due = now + each.lease_seconds / 3
            self._wakes_at = min((each.due for each in self._beating), default=now)
        return due


def _close_connection() -> None:
    with suppress(Error):
        connections[alias()].close()


_renewer = _Renewer()
