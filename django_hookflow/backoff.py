"""How long to wait before something that failed is tried again, by whoever delivers: the relay, and to subscribers."""

from __future__ import annotations

import random

SHORTEST, LONGEST = 1.0, 300.0


def backoff_seconds(attempt: int) -> float:
    """How long to wait after the attempt that failed: doubling, capped, and spread so that crowds disperse."""
    longest: float = min(LONGEST, SHORTEST * 2 ** min(attempt - 1, 20))
    return longest * random.uniform(0.75, 1.0)
