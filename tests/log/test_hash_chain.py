"""The hash chain, computed again in Python from nothing but the byte layout that the migration states."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log.calls import Row, append, ask, claim, head_of, log_of, start, step

pytestmark = pytest.mark.django_db

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def integer(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=True)


def text(value: str | None) -> bytes:
    return integer(-1, 4) if value is None else integer(len(value.encode()), 4) + value.encode()


def digest_of_payload(event: Row) -> bytes:
    if event["payload_digest"] is not None:
        return bytes(event["payload_digest"])
    if event["payload_text"] is None:
        return b""
    return sha256(bytes(event["salt"]) + event["payload_text"].encode())


def hash_after(previous: bytes, event: Row) -> bytes:
    microseconds = (event["recorded_at"] - EPOCH) // datetime.timedelta(microseconds=1)
    return sha256(
        b"HF1\0"
        + previous
        + event["run_uid"].bytes
        + integer(event["seq"], 4)
        + integer(microseconds, 8)
        + integer(event["version"], 2)
        + text(event["type"])
        + text(event["step_id"])
        + text(event["actor"])
        + digest_of_payload(event)
    )


def assert_chain_holds(run_uid: Any) -> None:
    previous = sha256(run_uid.bytes)
    for event in log_of(run_uid):
        previous = hash_after(previous, event)
        assert bytes(event["hash"]) == previous, f"the chain breaks at seq {event['seq']}"
    assert bytes(head_of(run_uid)["head_hash"]) == previous


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
values = st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
payloads = st.none() | st.fixed_dictionaries({"result": values}) | st.dictionaries(words, values, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    data=values,
    steps=st.lists(
        st.tuples(st.sampled_from(["turn.started", "note", "größer"]), st.none() | words, payloads), max_size=6
    ),
    actor=st.none() | words,
)
def test_the_chain_of_any_history_holds(data: Any, steps: list[Any], actor: str | None) -> None:
    run = start(data=data)
    if steps:
        append(run["run_uid"], 1, *steps, actor=actor)
    assert_chain_holds(run["run_uid"])


def test_the_chain_covers_turns_taken_over_and_payloads_of_any_size() -> None:
    run = start("order-1", {"name": "Zoë 雪 🦆", "nothing": None})
    claim("order-1", 1, lease=-1)
    row, _abandoned = claim("order-1", 1)
    append(run["run_uid"], row["turn_seq"], step("big", "🦆" * 700_000), ("step.completed", "none", {"result": None}))
    append(run["run_uid"], None, ("note", None, None), actor="Zoë")
    assert_chain_holds(run["run_uid"])


def test_the_same_payload_twice_has_different_digests() -> None:
    run = start()
    append(run["run_uid"], 1, step("a", 1), step("b", 1))
    _, one, two = log_of(run["run_uid"])
    assert one["payload_text"] == two["payload_text"]
    assert bytes(one["salt"]) != bytes(two["salt"])


REDACT = """
    UPDATE django_hookflow_event SET payload = NULL, salt = NULL,
      payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))
    WHERE run_uid = %s AND seq = %s
"""


def test_the_chain_holds_through_a_redaction() -> None:
    run = start()
    append(run["run_uid"], 1, step("a", "secret 雪"), step("b", "kept"))
    ask(REDACT, run["run_uid"], 2)
    redacted = log_of(run["run_uid"])[1]
    assert (redacted["payload_text"], redacted["salt"]) == (None, None)
    assert_chain_holds(run["run_uid"])


@pytest.mark.parametrize(
    "change",
    [
        "payload = NULL, salt = NULL, payload_digest = sha256('guess')",
        "payload = NULL, salt = NULL",
        "payload = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))",
        "payload = '{}', salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))",
        "payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8')), actor = 'eve'",
        "payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8')), position = 0",
    ],
)
def test_a_redaction_that_is_anything_more_or_less_is_refused(change: str) -> None:
    run = start()
    append(run["run_uid"], 1, step("a", "secret"))
    before = log_of(run["run_uid"])
    with pytest.raises(IntegrityError, match="append-only, UPDATE of .*/2 is refused"), transaction.atomic():
        ask(f"UPDATE django_hookflow_event SET {change} WHERE run_uid = %s AND seq = 2", run["run_uid"])
    assert log_of(run["run_uid"]) == before


def test_a_redacted_event_is_not_redacted_again() -> None:
    run = start()
    append(run["run_uid"], 1, step("a", "secret"))
    ask(REDACT, run["run_uid"], 2)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ask("UPDATE django_hookflow_event SET payload_digest = sha256('') WHERE seq = 2")
    assert_chain_holds(run["run_uid"])
