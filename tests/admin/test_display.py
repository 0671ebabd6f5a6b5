"""How values are shown."""

from __future__ import annotations

import pytest

from django_hookflow.admin.display import MAX_SHOWN, Shown, indent_json


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
