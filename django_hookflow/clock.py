"""The one clock that Python code of this package asks. Its counterpart in SQL is the function ``hookflow_now()``.

What decides when a run wakes is the database's clock alone; this one measures how long a turn has been going on.
Tests move both together, with ``django_hookflow.testing``.
"""

from __future__ import annotations

import time


class Clock:
    """Seconds on a clock that only goes forward; ``offset`` is what a test has moved it by."""

    offset: float = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset

    def time(self) -> float:
        """Seconds since 1970: what the stateless mode goes by, which has no database's clock."""
        return time.time() + self.offset


clock = Clock()
