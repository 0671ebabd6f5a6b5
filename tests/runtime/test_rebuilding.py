"""Exceptions that come back from their record: class, text and arguments, without a constructor being called."""

from __future__ import annotations

import builtins
import json
import sys
from typing import Any

import pytest
import requests
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import RecordedFailure, WorkflowError
from django_hookflow.runtime.failures import describe, rebuild
from django_hookflow.testing import Hookflow

#: New in Python 3.11.
Group: Any = getattr(builtins, "ExceptionGroup", None)


def back(error: Exception) -> Exception:
    return rebuild(json.loads(json.dumps(describe(error))))


class OutOfStock(Exception):
    def __init__(self, *, sku: str, body: str = "") -> None:
        super().__init__(f"no {sku} in stock")
        self.sku = sku
        self.body = body


class Composed(Exception):
    def __init__(self, *, sku: str, details: Any) -> None:
        self.sku = sku
        self.details = details

    def __str__(self) -> str:
        return f"no {self.sku}: {self.details['why']}"


class Gone(OSError):
    def __init__(self, place: str) -> None:
        super().__init__(2, "gone", place)


class Counted(Exception):
    made = 0
    subclasses: list[type] = []

    def __new__(cls, *args: Any) -> Counted:
        Counted.made += 1
        return super().__new__(cls, *args)

    def __init__(self, first: int, second: int) -> None:
        Counted.made += 1
        super().__init__(first, second)

    def __init_subclass__(cls) -> None:
        Counted.subclasses.append(cls)


class CountedAndSecret(Counted):
    def __str__(self) -> str:
        return f"password={self.args[0]}{self.args[1]}"


Counted.subclasses.clear()


class Shop:
    class ClosedError(Exception):
        pass


PLAIN_BUILTINS = [
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and kind.__module__ == "builtins"
    and not issubclass(kind, (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError, SyntaxError))
    and kind.__name__ != "ExceptionGroup"
]
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
arguments = st.lists(st.none() | st.integers() | text | st.binary(max_size=20) | st.tuples(text, decimals), max_size=3)


@given(st.sampled_from(PLAIN_BUILTINS), arguments)
def test_builtin_exceptions_come_back(kind: type[Exception], args: list[Any]) -> None:
    error = kind(*args)
    rebuilt = back(error)
    assert (type(rebuilt), str(rebuilt), rebuilt.args) == (type(error), str(error), error.args)


@given(text, st.binary(min_size=1, max_size=30), st.integers(0, 29), text)
def test_unicode_errors_come_back(encoding: str, data: bytes, start: int, reason: str) -> None:
    start = min(start, len(data) - 1)
    error = UnicodeDecodeError(encoding, data, start, start + 1, reason)
    rebuilt = back(error)
    assert isinstance(rebuilt, UnicodeDecodeError)
    assert (str(rebuilt), rebuilt.object, rebuilt.start) == (str(error), data, start)


if sys.version_info >= (3, 11):
    leaves = st.builds(ValueError, text) | st.builds(KeyError, text) | st.builds(OSError, st.integers(1, 40), text)
    groups = st.recursive(
        leaves,
        lambda inner: st.builds(Group, text, st.lists(inner, min_size=1, max_size=3)),
        max_leaves=5,
    )

    def shape(error: Exception) -> Any:
        members = error.exceptions if isinstance(error, Group) else ()
        return type(error), str(error), [shape(member) for member in members]

    @given(groups)
    def test_groups_come_back_with_their_members(error: Exception) -> None:
        assert shape(back(error)) == shape(error)

    def test_a_group_of_thousands_keeps_its_class_and_text() -> None:
        error = Group("many", [OutOfStock(sku=str(number)) for number in range(5_000)])
        rebuilt = back(error)
        assert isinstance(rebuilt, Group)
        assert str(rebuilt) == "many (5000 sub-exceptions)"
        assert len(rebuilt.exceptions) == 100
        assert isinstance(rebuilt.split(OutOfStock)[0], Group)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        StopIteration(3),
        FileNotFoundError(2, "No such file", "from", None, "to"),
        SyntaxError("bad", ("shop.py", 3, 5, "x = = 1")),
        ModuleNotFoundError("No module named 'x'", name="x"),
        OutOfStock(sku="red"),
        Gone("/place"),
        Shop.ClosedError("at noon"),
        requests.ConnectTimeout("late"),
        requests.exceptions.InvalidURL("bad"),
        Exception(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_class_text_and_arguments_come_back(error: Exception) -> None:
    rebuilt = back(error)
    assert type(rebuilt) is type(error)
    assert (str(rebuilt), rebuilt.args) == (str(error), error.args)


def test_what_the_builtin_classes_hold_comes_back() -> None:
    file = back(FileNotFoundError(2, "No such file", "from"))
    assert isinstance(file, OSError)
    assert (file.errno, file.filename) == (2, "from")
    stop = back(StopIteration(3))
    assert isinstance(stop, StopIteration)
    assert stop.value == 3
    missing = back(ModuleNotFoundError("No module named 'x'", name="x"))
    assert isinstance(missing, ImportError)
    assert missing.name == "x"


def test_an_attribute_comes_back_if_the_message_shows_it_anyway() -> None:
    described = describe(OutOfStock(sku="red", body="the customer's name"))
    assert "customer" not in json.dumps(described)
    rebuilt = rebuild(described)
    assert isinstance(rebuilt, OutOfStock)
    assert rebuilt.sku == "red"
    assert not hasattr(rebuilt, "body")


def test_a_text_made_of_what_is_not_recorded_is_the_recorded_one() -> None:
    for error in (Composed(sku="red", details={"why": "sold"}), ValidationError("no such sku")):
        rebuilt = back(error)
        assert isinstance(rebuilt, type(error))
        assert type(rebuilt).__qualname__ == type(error).__qualname__
        assert str(rebuilt) == str(error)


@pytest.mark.parametrize(
    "error",
    [KeyError("password=hunter22"), ValueError(1, b"token=abcdefgh"), ValueError("x", {"api_key": "abcdefgh"})],
)
def test_arguments_that_would_have_to_be_masked_are_not_recorded(error: Exception) -> None:
    described = describe(error)
    assert "args" not in described
    rebuilt = rebuild(described)
    assert isinstance(rebuilt, type(error))
    assert str(rebuilt) == described["message"]
    assert "hunter" not in str(rebuilt)


@pytest.mark.parametrize(
    "argument",
    [object(), "x" * 5_000, [[]] * 3_000, float("nan"), 10**5_000, "\ud800"],
    ids=["object", "long", "wide", "NaN", "huge", "surrogate"],
)
def test_arguments_that_cannot_be_recorded_cost_nothing_but_themselves(argument: Any) -> None:
    error = LookupError(1, argument)
    described = describe(error)
    assert "args" not in described
    assert isinstance(rebuild(described), LookupError)


def test_no_constructor_is_called() -> None:
    error, secret = Counted(1, 2), CountedAndSecret(1, 2)
    before = Counted.made
    rebuilt = back(error)
    assert (type(rebuilt), rebuilt.args) == (Counted, (1, 2))
    back(secret)
    assert Counted.made == before
    assert Counted.subclasses == []


def local_error() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError("here only")


@pytest.mark.parametrize(
    "record",
    [
        describe(local_error()),
        {"type": "no.such.module.Error", "message": "gone"},
        {"type": "builtins.int", "message": "1"},
        {"type": "KeyboardInterrupt", "message": ""},
        {"type": "", "message": "nothing"},
        {},
        {"type": "ExceptionGroup", "message": "x", "args": [{"$bytes": 5}], "exceptions": [3]},
        {"type": "ValueError", "message": "x", "args": 3},
    ],
)
def test_what_cannot_be_made_again_is_a_recorded_failure(record: dict[str, Any]) -> None:
    rebuilt = rebuild(record)
    assert isinstance(rebuilt, RecordedFailure)
    assert (rebuilt.type, str(rebuilt)) == (record.get("type", ""), record.get("message", ""))


@pytest.mark.django_db(transaction=True)
def test_a_replay_catches_what_the_first_execution_caught(hookflow: Hookflow) -> None:
    caught: list[tuple[Any, ...]] = []

    def fail() -> None:
        raise OutOfStock(sku="red")

    @workflow(workflow_id="tests.catching", retry=Retry(max_attempts=1))
    def catching(ctx: WorkflowContext) -> None:
        try:
            ctx.step.run("fail", fail)
        except WorkflowError as error:
            cause = error.__cause__
            assert isinstance(cause, OutOfStock)
            caught.append((type(cause), str(cause), cause.args, cause.sku))
        ctx.step.sleep("a while", 10)

    assert hookflow.run(catching).status == "completed"
    assert len(caught) == 2
    assert caught[0] == caught[1]
