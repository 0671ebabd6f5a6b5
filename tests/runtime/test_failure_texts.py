"""Texts of errors: what is masked, what is bounded, what it costs, and which failures have one fingerprint."""

from __future__ import annotations

import builtins
import json
import sys
from typing import Any

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.runtime import masking
from django_hookflow.runtime.failures import MASKED, MAX_TEXT, describe, fingerprint, mask
from tests.growth import HOSTILE, count_calls, grows_linearly

#: New in Python 3.11.
Group: Any = getattr(builtins, "ExceptionGroup", None)
needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="groups and notes are new in Python 3.11")


@pytest.mark.parametrize("piece", HOSTILE)
def test_masking_takes_time_linear_in_the_text(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "MAX_TEXT", 10_000_000)
    assert grows_linearly(mask, piece)
    assert grows_linearly(lambda text: mask(f"token='{text}"), piece)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_fingerprint_takes_time_linear_in_the_text(piece: str) -> None:
    assert grows_linearly(lambda text: fingerprint("step", "Error", text), piece)
    assert grows_linearly(lambda text: fingerprint(f"{text}]", "Error", f"'{text}"), piece)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password=hunter22, next", f"password={MASKED}, next"),
        ('{"api_key": "a b \\" c", "n": 1}', f'{{"api_key": {MASKED}, "n": 1}}'),
        ("{'my-token-id': 'abc def'}", f"{{'my-token-id': {MASKED}}}"),
        ('"{\\"secret\\": \\"abc\\"}"', f'"{{\\"secret\\": {MASKED}}}"'),
        ("Authorization: Bearer abc.def-ghi", f"Authorization: Bearer {MASKED}"),
        ("authorization: Token abc", f"authorization: Token {MASKED}"),
        ("'password' => 'abc def'", f"'password' => {MASKED}"),
        ("sent Bearer abcdefghij", f"sent Bearer {MASKED}"),
        ("postgres://ada:p@ss@db/shop", f"postgres://ada:{MASKED}@db/shop"),
        ("key sk_live_12345678 xoxb-1234567890", f"key {MASKED} {MASKED}"),
        ("passwordpassword", "passwordpassword"),
        ("the password is wrong", "the password is wrong"),
        ("http://example.com/a:b@c", "http://example.com/a:b@c"),
    ],
)
def test_what_sounds_like_a_secret_is_masked(text: str, kept: str) -> None:
    assert mask(text) == kept
    assert mask(kept) == kept


@override_settings(SECRET_KEY="known to nobody", SECRET_KEY_FALLBACKS=["known to few"])
def test_the_projects_own_secrets_are_masked() -> None:
    assert mask("(known to nobody) (known to few)") == f"({MASKED}) ({MASKED})"


@given(st.lists(st.sampled_from([*"ab=:'\"\\ \n,/-[]", "token", "password=", "Bearer ", MASKED])))
def test_masking_twice_is_masking_once(pieces: list[str]) -> None:
    once = mask("".join(pieces))
    assert mask(once) == once


def test_the_rest_of_a_secret_that_is_cut_in_two_is_not_kept() -> None:
    secret = "s3cr3t" * 2_000
    text = f"{'x' * (MAX_TEXT - 100)} password={secret}{'y ' * MAX_TEXT} token={'z' * (MAX_TEXT - 3_000)}"
    assert "s3cr3t" not in mask(text)


@given(st.text())
def test_what_is_described_can_be_stored(text: str) -> None:
    described = describe(ValueError(text))
    json.dumps(described, ensure_ascii=False).encode()
    assert "\x00" not in "".join(map(str, described.values()))


def chained(links: int) -> Exception:
    error = Exception("the first")
    for number in range(links):
        following = ValueError(f"link {number}")
        following.__cause__, error = error, following
    return error


def nested(levels: int, width: int = 2) -> Exception:
    error: Exception = ValueError("the innermost")
    for _ in range(levels):
        error = Group("group", [error] * width)
    return error


def with_notes(count: int) -> Exception:
    error = ValueError("noted")
    for number in range(count):
        error.add_note(f"note {number}: {'n' * 100}")
    return error


def wide(members: int) -> Any:
    return Group("wide", [ValueError(f"member {number}") for number in range(members)])


@needs_groups
@pytest.mark.parametrize("make", [chained, wide, with_notes], ids=lambda make: make.__name__)
def test_the_work_for_what_is_long_has_a_bound(make: Any) -> None:
    """Beyond the bound, ten times as many make no more calls."""
    few, many = make(200), make(2_000)
    describe(few)  # imports and caches
    assert count_calls(lambda: describe(many)) <= 1.05 * count_calls(lambda: describe(few))
    assert len(json.dumps(describe(make(20_000)))) < 4 * MAX_TEXT


@needs_groups
def test_a_record_is_bounded_whatever_the_error_is_like() -> None:
    for error in (nested(8), nested(100, 1), chained(50_000), wide(50_000), with_notes(10_000), Exception("x" * 10**7)):
        described = describe(error)
        assert len(json.dumps(described)) < 5 * MAX_TEXT
        assert described["traceback"]


def test_a_long_chain_shows_both_ends_and_how_many_are_between() -> None:
    told = describe(chained(1_000))["traceback"]
    assert told.startswith("Exception: the first\n\nThe above exception was the direct cause")
    assert told.endswith("ValueError: link 999\n")
    assert "… 985 more exceptions that led to each other …" in told


@needs_groups
def test_the_members_of_a_group_are_shown_with_their_frames() -> None:
    def fail() -> None:
        raise KeyError("inner")

    try:
        fail()
    except KeyError as error:
        group = Group("several", [error, ValueError("b")])
    told = describe(group)["traceback"]
    assert "  | Traceback (most recent call last):\n" in told
    assert ", in fail\n" in told
    assert "  | KeyError: 'inner'\n" in told
    assert "  +---- 2 of 2 ----\n  | ValueError: b\n" in told


def test_a_cause_and_a_context_are_shown_as_python_does() -> None:
    def fail() -> None:
        try:
            int("x")
        except ValueError as error:
            raise LookupError("first") from error

    try:
        fail()
    except LookupError:
        try:
            raise RuntimeError("second")
        except RuntimeError as error:
            told = describe(error)["traceback"]
    assert told.index("ValueError: invalid literal") < told.index("direct cause") < told.index("LookupError: first")
    assert told.index("During handling") < told.index("RuntimeError: second")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 not found", "order 99 not found"),
        ("no 'red' in stock", "no 'it\\'s blue' in stock"),
        ('Key (email)=(ada@example.com) "x"', 'Key (email)=(bob@example.com) "y"'),
        ("run 0190a5b2-7e21-7c1f-8a43-000000000001 gone", "run 0190a5b2-ffff-7c1f-8a43-0000000000aa gone"),
        ("object at 0x7f3a", "object at 0xdeadbeef"),
        ("digest deadbeefdeadbeef", "digest cafebabe"),
        ("took 1,234.5 s", "took 3 s"),
        ("at 2026-01-01T10:00:00.123+00:00", "at 2025-12-31"),
        ("ids [1, 2, 3]", "ids [4]"),
        ("a  b\n", " a b"),
    ],
)
def test_failures_that_differ_in_what_varies_have_one_fingerprint(one: str, other: str) -> None:
    assert fingerprint("pay", "ValueError", one) == fingerprint("pay", "ValueError", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("pay", "E", "no stock"), ("pay", "E", "no money")),
        (("pay", "E", "x"), ("ship", "E", "x")),
        (("pay", "E", "x"), ("pay", "F", "x")),
        (("pay", "E", "can't open"), ("pay", "E", "can't close")),
        (("a[1]-b[2]", "E", "x"), ("a[2]-b[2]", "E", "x")),
    ],
)
def test_other_failures_have_another(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_the_elements_of_a_map_have_one_fingerprint() -> None:
    keys = ["mail[17]", "mail[a[1]]", "mail[]"]
    assert len({fingerprint(step_id, "E", "x") for step_id in keys}) == 1
    assert fingerprint(None, "E", "x") == fingerprint("", "E", "x")


@pytest.mark.parametrize(
    ("arguments", "digest"),
    [
        ((None, "ValueError", ""), "4be660ac9c699d48"),
        (("mail[17]", "shop.OutOfStock", "no 'red' in 17 shops, 3 asked"), "c4ffef86dc2200a2"),
        (("Zahlung", "KeyError", "'\u00fc' \ud800 \u0663"), "b2c28a4c82f3704e"),
    ],
)
def test_fingerprints_are_the_same_for_ever(arguments: Any, digest: str) -> None:
    assert fingerprint(*arguments) == digest
