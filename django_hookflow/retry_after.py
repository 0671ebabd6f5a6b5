"""What a server's Retry-After header asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

#: The longest it can make anything of ours wait; QStash has the same limit for itself.
MAX_SECONDS = 86_400.0


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The header, seconds or an HTTP date (RFC 9110 §10.2.3), as seconds from now, a day at most; None if there is none."""
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.isdecimal() and value.isascii():
        return min(float(value), MAX_SECONDS)
    try:
        then = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, then - time.time()), MAX_SECONDS)
