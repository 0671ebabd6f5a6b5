"""How values are put into words."""

from __future__ import annotations

import datetime

import pytest

from django_hookflow.admin.display import MAX_SHOWN, Shown, format_duration, indent_json


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.00 s"),
        (-1, "0.00 s"),
        (0.354, "0.35 s"),
        (12.54, "12.5 s"),
        (60, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (86_400 * 3 + 3_600 * 4, "3 d 4 h"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert format_duration(datetime.timedelta(seconds=seconds)) == words


def test_no_duration_is_a_dash() -> None:
    assert format_duration(None) == "–"


@pytest.mark.parametrize(
    "text", ["[" * 3_000, "[" * 1_500 + "]" * 1_500, '{"a": ' + "9" * 3_990 + "}", "{" + "x" * 200]
)
def test_json_that_cannot_be_indented_stays_as_it_is(text: str) -> None:
    assert indent_json(text).replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_a_value_is_short_in_one_line_and_cut_beyond_the_limit() -> None:
    assert Shown("[1]", 3).is_short
    assert not Shown("[\n1]", 4).is_short
    assert not Shown("x" * MAX_SHOWN, MAX_SHOWN).is_cut
    assert Shown("x" * MAX_SHOWN, MAX_SHOWN + 1).is_cut
