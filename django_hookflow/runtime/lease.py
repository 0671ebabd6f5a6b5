"""Keeps a turn's lease alive while its steps are long.

A thread of its own renews the lease every third of its time, on a connection of its own; short turns end before the
first renewal and never open one. When the process stops, is stopped (SIGSTOP) or dies, so do the renewals, and the
lease runs out. A renewal that finds the run gone is a sign to the turn, which ends before its next step.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from uuid import UUID

from django.db import Error, connections

from django_hookflow.events import log
from django_hookflow.events.database import alias

logger = logging.getLogger("django_hookflow.lease")


class Heartbeat:
    """A context manager that renews the lease of a turn until it is left. ``lost`` is set when the run has gone."""

    def __init__(self, run_uid: UUID, turn_seq: int, lease_seconds: float) -> None:
        self.run_uid = run_uid
        self.turn_seq = turn_seq
        self.lease_seconds = lease_seconds
        self.lost = threading.Event()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="hookflow-lease", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._left.set()

    def _beat(self) -> None:
        try:
            while not self._left.wait(self.lease_seconds / 3):
                if not self._renew():
                    self.lost.set()
                    return
        finally:
            connections[alias()].close()

    def _renew(self) -> bool:
        try:
            return log.renew(self.run_uid, self.turn_seq, self.lease_seconds)
        except Error as error:
            # Not the end of the turn: the next beat tries again on a new connection, and the fence holds regardless.
            logger.warning("hookflow: the lease of run %s could not be renewed: %s", self.run_uid, error)
            connections[alias()].close()
            return True
