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
from zoneinfo import ZoneInfo

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
        ({"a": [1, math.nan]}, "result['a'][1]", "nan is not a valid JSON number"),
        (-math.inf, "result", "-inf is not a valid JSON number"),
        ({"name": "a\x00b"}, "result['name']", "NUL character"),
        (["\ud800"], "result[0]", "lone surrogate"),
        ({"x": Plain()}, "result['x']", "test_codec.Plain is not a type that can be recorded"),
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


BERLIN = ZoneInfo("Europe/Berlin")
TWICE, NEVER = (
    datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
    datetime.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
)


def back(value: Any) -> Any:
    return codec.decode(codec.encode(value, path="result", limit=LIMIT))


@given(st.datetimes(timezones=st.timezones(), allow_imaginary=True), st.integers(0, 1))
def test_moments_of_every_zone_come_back_equal_and_the_same_instant(moment: datetime.datetime, fold: int) -> None:
    moment = moment.replace(fold=fold)
    assert back(moment) == moment
    assert back(moment).utcoffset() == moment.utcoffset()


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("moment", [TWICE, NEVER])
def test_an_hour_that_is_there_twice_or_never_comes_back(moment: datetime.datetime, fold: int) -> None:
    moment = moment.replace(fold=fold)
    assert (back(moment), back(moment).timestamp()) == (moment, moment.timestamp())
    assert back({moment: [moment]}) == {moment: [moment]}


@pytest.mark.parametrize(
    "value",
    [
        TWICE.replace(tzinfo=None, fold=1),
        datetime.time(2, 30, fold=1),
        datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-23))),
        datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=23, microseconds=1))),
        datetime.datetime.max.replace(tzinfo=BERLIN),
        datetime.time(3, tzinfo=datetime.timezone(datetime.timedelta(seconds=-1.5))),
        Decimal("1E+999999999999999999"),
        Decimal("-0E-999999999999999999"),
        Decimal("0." + "1" * 10_000),
    ],
    ids=repr,
)
def test_the_ends_of_what_there_is_come_back(value: Any) -> None:
    assert same(back(value), value)
    if isinstance(value, (datetime.datetime, datetime.time)):
        assert (back(value).fold, back(value).utcoffset()) == (value.fold, value.utcoffset())
    if isinstance(value, Decimal):
        assert back(value).as_tuple() == value.as_tuple()


def test_a_zone_whose_rules_have_changed_or_that_is_gone_leaves_instant_and_offset() -> None:
    for zone in ("Europe/Lisbon", "No/Where", "../etc/passwd"):
        moment = codec.decode(f'{{"$datetime":["2024-10-27T02:30:00+01:00","{zone}",1]}}')
        assert moment == datetime.datetime(2024, 10, 27, 1, 30, tzinfo=datetime.timezone.utc)


class Repeating(datetime.tzinfo):
    """A zone without a name with two offsets for every time."""

    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=moment.fold if moment else 0)

    def dst(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta()

    def tzname(self, moment: datetime.datetime | None) -> str:
        return "repeating"


class Stamp(datetime.datetime):
    """As pandas has it: finer than a microsecond."""

    nanoseconds = 5

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stamp) and super().__eq__(other)

    __hash__ = datetime.datetime.__hash__


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        (datetime.datetime(2024, 1, 1, fold=1, tzinfo=Repeating()), "value.astimezone(datetime.timezone.utc)"),
        (Stamp(2024, 1, 1), "return plain data"),
    ],
)
def test_a_moment_that_would_come_back_unequal_is_refused(value: Any, way_out: str) -> None:
    with pytest.raises(NotSerializable, match="would come back unequal") as refusal:
        codec.encode({"at": value}, path="result", limit=LIMIT)
    assert str(refusal.value).startswith("result['at']")
    assert way_out in str(refusal.value)


class Odd(Decimal):
    def __str__(self) -> str:
        return "odd"


class OddInt(int):
    def __int__(self) -> int:
        return 7


def test_a_subclass_is_read_as_its_base_whatever_it_shows() -> None:
    assert same(back([Odd("1.5"), OddInt(3)]), [Decimal("1.5"), 3])
