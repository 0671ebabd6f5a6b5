"""How much a turn takes on."""

from __future__ import annotations

import threading

from django_hookflow.clock import clock
from django_hookflow.conf import conf
from django_hookflow.runtime import stopping


class Share:
    """How much a turn takes on: steps begun within its time, and so many at most."""

    def __init__(self) -> None:
        self._ends_at = clock.monotonic() + conf.turn_budget
        self._steps = conf.steps_per_turn
        self._done = 0
        self._lock = threading.Lock()

    def is_done_with_next(self) -> bool:
        """Whether the step now being recorded is the last one."""
        self._done += 1
        return self.is_over()

    def take(self) -> bool:
        """Whether one more step may begin, which then counts. The first one may in any case, lest a run get nowhere."""
        with self._lock:
            if self._done and self.is_over():
                return False
            self._done += 1
            return True

    def is_over(self, begun: int = 0, has_begun: bool = True) -> bool:
        """Whether no further step is to begin, with so many at work; the first of a turn always is."""
        if not has_begun and not self._done:
            return False
        if stopping.is_requested():
            return True
        return clock.monotonic() >= self._ends_at or (self._steps is not None and self._done + begun >= self._steps)
