"""What is recorded comes back equal, or is refused with the path to the culprit."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections import Counter, OrderedDict
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from django.db import models
from django.http import QueryDict
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.events import codec
from django_hookflow.exceptions import NotSerializable

LIMIT = 1024 * 1024

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.binary()
)
hashable = scalars | st.tuples(scalars, scalars)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(text, inner)
        | st.dictionaries(hashable, inner)
        | st.tuples(inner, inner)
        | st.sets(hashable)
        | st.frozensets(hashable)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down: 1, 1.0 and True are three things."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return all(same(a, b) for a, b in zip(left, right, strict=True))
    return True


@given(values)
def test_every_accepted_value_comes_back_equal_in_type_and_order(value: Any) -> None:
    encoded = codec.encode(value, path="result", limit=LIMIT)
    assert same(codec.decode(encoded), value)
    json.loads(encoded, parse_constant=pytest.fail)


class Colour(models.TextChoices):
    RED = "red", "Red"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Colour.RED, "red"),
        (OrderedDict(a=1), {"a": 1}),
        (Counter("aab"), {"a": 2, "b": 1}),
        ({"$decimal": "1"}, {"$decimal": "1"}),
        ({1: "one", "1": "uno"}, {1: "one", "1": "uno"}),
        (QueryDict("a=1&a=2"), {"a": ["1", "2"]}),
    ],
)
def test_subclasses_come_back_as_the_base_they_equal(value: Any, plain: Any) -> None:
    back = codec.decode(codec.encode(value, path="result", limit=LIMIT))
    assert same(back, plain)


class Plain:
    pass


class Shade(Enum):
    DARK = 1


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def containing_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({"a": [1, math.nan]}, "result['a'][1]", "nan is not a number JSON has"),
        (-math.inf, "result", "-inf is not a number JSON has"),
        ({"name": "a\x00b"}, "result['name']", "NUL character"),
        (["\ud800"], "result[0]", "lone surrogate"),
        ({"x": Plain()}, "result['x']", "test_codec.Plain is not a type that comes back equal"),
        (Shade.DARK, "result", "Shade is not a type"),
        (Decimal("NaN"), "result", "not a finite number"),
        pytest.param(10**5000, "result", "more than 4,000 digits", id="long integer"),
        (deep(10_000), "result[0][0]", "nested deeper than 200 levels"),
        (containing_itself(), "result[0][0]", "contains itself"),
        (lambda: None, "result", "builtins.function is not a type"),
        ({uuid.UUID(int=1): Plain()}, "result[UUID(", "is not a type"),
    ],
)
def test_what_cannot_come_back_is_refused_with_path_and_problem(value: Any, path: str, words: str) -> None:
    with pytest.raises(NotSerializable) as refusal:
        codec.encode(value, path="result", limit=LIMIT)
    assert str(refusal.value).startswith(path)
    assert words in str(refusal.value)


@pytest.mark.parametrize("value", ["x" * 101, ["é" * 60], [0] * 101, b"x" * 80])
def test_more_bytes_than_the_limit_are_refused_naming_limit_and_way_out(value: Any) -> None:
    with pytest.raises(NotSerializable, match=r"limit of 100 .*record a reference"):
        codec.encode(value, path="result", limit=100)


def test_a_giant_of_shared_parts_is_refused_before_it_is_built() -> None:
    value: list[Any] = ["x"]
    for _ in range(100):
        value = [value, value]
    with pytest.raises(NotSerializable, match="more bytes"):
        codec.encode(value, path="result", limit=LIMIT)
