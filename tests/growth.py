"""How work grows with its input: measured as a ratio, since times are the machine's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import process_time

#: What makes patterns that go back search again and again.
HOSTILE = [
    *("a", " ", "\n", "-", "x-", "\\", '"', "'", '\\"', "(", "[", "\u0301", "ｗ", "0", ".", "# "),
    *("password", "password=", 'password="', "password='\\\"", "token ", "token-", "api_key\\", "secret\t"),
    *("://", "a://b:", "://a:b@", "bearer ", "basic x", "sk_", "x:", "=", "tokentokentoken        "),
    *('  File "', '  File "a", line 1, in f\n', "a 'b ", "1,2", "@", "abcdef", "`\\`", "The above exception was\n"),
]


def grows_linearly(work: Callable[[str], object], piece: str, size: int = 16_000) -> bool:
    """Whether four times the text takes less than eight times the work; a square would take sixteen.

    The smallest of several measurements counts: others only say what else the machine did, for which there is a second try.
    """
    short, long = (piece * (length // len(piece)) for length in (size, 4 * size))
    return any(_least_time(work, long) < 8 * max(_least_time(work, short), 2e-4) for _ in range(2))


def _least_time(work: Callable[[str], object], text: str) -> float:
    def measured() -> float:
        began = process_time()
        work(text)
        return process_time() - began

    return min(measured() for _ in range(3))


def count_calls(work: Callable[[], object]) -> int:
    """How many Python functions ``work`` calls."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls
