"""Whether a failure is worth another attempt, and when.

Decided by the type of what was raised and by HTTP status, never by the words of a message. A status decides first:
5xx, 408, 425 and 429 are worth it, other 4xx are not. Then the type: errors that say the input or the code is wrong
are not worth it, everything else, known or not, is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import (
    ImproperlyConfigured,
    MultipleObjectsReturned,
    ObjectDoesNotExist,
    PermissionDenied,
    ValidationError,
)
from django.http import Http404

from django_hookflow.durations import LONGEST_SECONDS, Duration, in_seconds
from django_hookflow.exceptions import HookFlowException
from django_hookflow.retry_after import MAX_SECONDS, retry_after_seconds

#: Wrong input or wrong code: the same call will fail the same way.
NON_RETRYABLE: tuple[type[BaseException], ...] = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    AssertionError,
    ArithmeticError,
    NotImplementedError,
    ImportError,
    SyntaxError,
    Http404,
    ObjectDoesNotExist,
    MultipleObjectsReturned,
    PermissionDenied,
    ValidationError,
    ImproperlyConfigured,
)
#: Statuses below 500 that ask for another attempt: timeout, too early, too many requests (RFC 9110, 8470, 6585).
RETRYABLE_STATUSES = frozenset({408, 425, 429})

#: What PostgreSQL's integer holds.
MOST_ATTEMPTS = 2**31 - 1


@dataclass(frozen=True)
class Retry:
    """The retry policy of a step: how often it is retried, and after what delay.

    ``max_attempts`` counts the first one. The n-th retry waits ``first_delay * factor ** (n - 1)`` (seconds, or a
    ``timedelta``), at most ``max_delay``, and up to ``jitter`` (a share of it, 0 to 1) less, so that many runs do not come back at once.
    ``non_retryable`` adds exception types to those that are not worth another attempt.
    """

    max_attempts: int = 4
    first_delay: Duration = 1.0
    factor: float = 4.0
    max_delay: Duration = 3600.0
    jitter: float = 0.1
    non_retryable: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if type(self.max_attempts) is not int or not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            raise ValueError(
                f"Retry.max_attempts must be a whole number from 1 to {MOST_ATTEMPTS:,} (it includes the first "
                f"attempt), not {self.max_attempts!r:.100}"
            )
        if not isinstance(self.non_retryable, tuple) or not all(map(_is_exception_type, self.non_retryable)):
            raise ValueError(f"Retry.non_retryable must be a tuple of exception types, not {self.non_retryable!r:.100}")
        delays = in_seconds(self.first_delay), in_seconds(self.max_delay), self.factor
        in_range = all(map(math.isfinite, delays)) and min(delays) >= 0 and self.factor >= 1 and 0 <= self.jitter <= 1
        if not in_range:
            raise ValueError(
                f"{self} is out of range: delays must be at least 0, factor at least 1 and jitter from 0 to 1"
            )

    def delay_after(self, error: BaseException, attempt: int) -> float | None:
        """Seconds to wait after the ``attempt``-th attempt (from 1) raised ``error``; None when there is no other."""
        if attempt >= self.max_attempts or isinstance(error, self.non_retryable) or not is_retryable(error):
            return None
        asked = retry_after(error)
        if asked is not None:
            return min(asked, MAX_SECONDS)
        longest: float = in_seconds(self.max_delay)
        try:
            delay = min(in_seconds(self.first_delay) * self.factor ** min(attempt - 1, 100), longest)
        except OverflowError:
            delay = longest
        return float(min(delay, LONGEST_SECONDS) * (1 - self.jitter * random.random()))


def _is_exception_type(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


DEFAULT_RETRY = Retry()


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in RETRYABLE_STATUSES
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return not isinstance(error, (*NON_RETRYABLE, HookFlowException))


def status_of(error: BaseException) -> int | None:
    """The HTTP status an exception carries: its own ``status_code``, or its response's (requests, httpx)."""
    for holder in (error, _attribute(error, "response")):
        status = _attribute(holder, "status_code")
        if isinstance(status, int) and 100 <= status <= 599:
            return status
    return None


def retry_after(error: BaseException) -> float | None:
    """Seconds until the other side wants to be asked again: the error's ``retry_after``, or its response's header."""
    own = _attribute(error, "retry_after")
    if isinstance(own, (int, float)):
        return float(min(max(0.0, own), MAX_SECONDS))
    headers = _attribute(_attribute(error, "response"), "headers")
    try:
        return retry_after_seconds(headers) if isinstance(headers, Mapping) else None
    except Exception:  # as in _attribute: headers of somebody else's making
        return None


def _attribute(holder: Any, name: str) -> Any:
    """An attribute of somebody else's object; None where there is none, or reading it raises."""
    try:
        return getattr(holder, name, None)
    except Exception:  # what was raised is to be recorded, not what it raises when it is asked
        return None
