"""The hash chain, computed again in Python from nothing but the byte layout that the migration states."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from django_hookflow.projections import diff
from tests.log.calls import Row, append, ask, claim, head_of, log_of, operate, session, sleep, start, step
from tests.log.strategies import any_facts, words

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
        + text(event["facts_text"])
        + digest_of_payload(event)
    )


def assert_chain_holds(run_uid: Any) -> None:
    previous = sha256(run_uid.bytes)
    for event in log_of(run_uid):
        previous = hash_after(previous, event)
        assert bytes(event["hash"]) == previous, f"the chain breaks at seq {event['seq']}"
    assert bytes(head_of(run_uid)["head_hash"]) == previous


values = st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
objects = st.dictionaries(words, values, max_size=3)
payloads = st.none() | st.fixed_dictionaries({"result": values}) | objects
events = st.tuples(st.sampled_from(["turn.started", "note", "größer"]), st.none() | words, payloads, any_facts(values))


@settings(max_examples=60, deadline=None)
@given(data=values, steps=st.lists(events, max_size=6), actor=st.none() | words)
def test_the_chain_of_any_history_holds(data: Any, steps: list[Any], actor: str | None) -> None:
    run = start(data=data)
    if steps:
        append(run["run_uid"], 1, *steps, actor=actor)
    assert_chain_holds(run["run_uid"])


#: What a role, a database or a pooler may have set. Each changes how PostgreSQL reads literals or writes values.
SESSIONS = {
    "backslashes are escapes": "SET standard_conforming_strings = off; SET escape_string_warning = off",
    "bytes as escapes": "SET bytea_output = escape",
    "time elsewhere": "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'",
    "intervals and numbers": "SET intervalstyle = 'sql_standard'; SET extra_float_digits = -5",
    "other bytes for characters": "SET client_encoding = 'LATIN1'",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("settings", SESSIONS)
def test_the_chain_is_the_same_whatever_the_session_has_set(settings: str) -> None:
    with session() as own:  # a new one: what a function has been parsed to in a session stays so
        own.execute(SESSIONS[settings])
        run = start("order-1", {"name": "C:\\Zoë\\'n", "nothing": None}, timeout=3600.5, session=own)
        (claimed,) = claim("order-1", 1, session=own)
        append(run["run_uid"], 2, step("Zoë's step", "\\x48"), sleep("nap", 1.5), ("note", None, None), session=own)
        operate(run["run_uid"], "cancel", payload={"reason": "\\x48"}, session=own)
        redacted = ask("SELECT hookflow_redact(%s, 1, '{data,name}', 'erasure', 'é') AS n", run["run_uid"], session=own)
    assert (claimed["turn_seq"], redacted) == (2, [{"n": 1}])
    assert_chain_holds(run["run_uid"])
    events = log_of(run["run_uid"])
    assert events[2]["payload"] == {"result": "\\x48"}
    until = datetime.datetime.fromisoformat(events[0]["facts"]["until"].replace("Z", "+00:00"))
    assert until - events[0]["recorded_at"] == datetime.timedelta(seconds=3600.5)
    assert list(diff()) == []


def test_an_event_without_payload_has_neither_salt_nor_digest() -> None:
    run = start()
    append(run["run_uid"], 1, ("turn.started", None, None), ("turn.started", None, {}))
    _, without, with_empty = log_of(run["run_uid"])
    assert (without["payload_text"], without["salt"], without["payload_digest"]) == (None, None, None)
    assert (with_empty["payload_text"], len(bytes(with_empty["salt"]))) == ("{}", 16)
    assert_chain_holds(run["run_uid"])


def test_the_chain_covers_what_the_engine_says_also_of_a_redacted_event() -> None:
    """Facts are hashed in the clear: whoever may not see a payload can still verify what happened."""
    run = start()
    append(run["run_uid"], 1, step("a", "secret"))
    ask(REDACT, run["run_uid"], 2)
    event = log_of(run["run_uid"])[1]
    previous = bytes(log_of(run["run_uid"])[0]["hash"])
    assert hash_after(previous, event) == bytes(event["hash"])
    changed = {**event, "facts_text": event["facts_text"].replace("0.25", "0.24")}
    assert hash_after(previous, changed) != bytes(event["hash"])


def test_the_chain_covers_turns_taken_over_and_payloads_of_any_size() -> None:
    run = start("order-1", {"name": "Zoë 雪 🦆", "nothing": None})
    claim("order-1", 1, lease=-1)
    row, _abandoned = claim("order-1", 1)
    append(run["run_uid"], row["turn_seq"], step("big", "🦆" * 700_000), step("none"))
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
