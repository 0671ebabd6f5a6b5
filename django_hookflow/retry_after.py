"""What a server's Retry-After header asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

#: The longest it can make anything of ours wait; QStash has the same limit for itself.
MAX_SECONDS = 86_400.0
#: Characters; a date has 29.
_MAX_VALUE = 64


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How many seconds a Retry-After header (RFC 9110 §10.2.3) asks to wait, a day at most; None if it does not say so.

    A date in it is a time by the server's clock, so it is compared with the Date of the same answer and with no other
    clock; without that header it says nothing.
    """
    value = (headers.get("Retry-After") or "").strip()
    if value.isdecimal() and value.isascii():
        return min(float(value[:_MAX_VALUE]), MAX_SECONDS)
    then, now = _seconds(value), _seconds(headers.get("Date") or "")
    return None if then is None or now is None else min(max(0.0, then - now), MAX_SECONDS)


def _seconds(date: str) -> float | None:
    if not date or len(date) > _MAX_VALUE:
        return None
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):  # the parser is not written for whatever comes
        return None
