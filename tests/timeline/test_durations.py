"""Spans of time and numbers of things, in words."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.durations import format_duration, format_until
from django_hookflow.timeline.sentence import count


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *(
            (-1, "0 s"),
            (0, "0 s"),
            (0.0000001, "0 s"),
            (0.000012, "0.012 ms"),
            (0.00045, "0.45 ms"),
            (0.0042, "4.2 ms"),
        ),
        *((0.01234, "12.3 ms"), (0.25, "250 ms"), (0.9994, "999 ms"), (0.9996, "1 s"), (1.5, "1.5 s"), (9.999, "10 s")),
        *((12.34, "12.3 s"), (41, "41 s"), (59.94, "59.9 s"), (59.96, "1 min"), (200, "3 min 20 s"), (3599.7, "1 h")),
        *((7500, "2 h 5 min"), (86_400, "1 d"), (273_600, "3 d 4 h"), (10**9, "11,574 d 1 h")),
    ],
)
def test_spans_of_time(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@given(st.floats(-(10**3), 10**12))
def test_a_span_has_one_or_two_units_and_never_an_exponent(seconds: float) -> None:
    words = format_duration(seconds)
    assert 2 <= len(words.split()) <= 4
    assert "e" not in words
    assert not words.startswith("-")


def test_from_one_moment_to_another_in_whole_seconds() -> None:
    now = datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc)
    later = now + datetime.timedelta(seconds=61.4)
    assert format_until(later, now) == format_until(now, later) == "1 min 1 s"


def test_numbers_of_things() -> None:
    assert [count(1, "retry"), count(2, "retry"), count(2000, "step")] == ["1 retry", "2 retries", "2,000 steps"]
