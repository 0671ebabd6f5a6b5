"""What was redacted is on record, the record is true, and what it does not cover is still evidence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DataError

from django_hookflow.evidence import audit
from tests.evidence.exporting import export, run_audit
from tests.evidence.tampering import make_run, rewrite_chain, tamper, verify
from tests.log.calls import append, ask, log_of

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

pytestmark = pytest.mark.django_db(transaction=True)


def redact(uid: UUID, seq: int | None, path: list[str] | None = None, reason: str | None = "asked for") -> None:
    ask("SELECT hookflow_redact(%s, %s, %s::text[], %s, 'ann')", uid, seq, path, reason)


def problems_of(what: str, seq: int) -> tuple[int, list[str]]:
    return 1, [f"run order-1 #{seq}: {what}"]


@pytest.fixture
def uid() -> UUID:
    """A run of eight events, and one redaction of a part of its first: #9 on record, #10 what was retained."""
    uid = make_run("order-1")
    redact(uid, 1, ["data", "order"])
    assert verify()[:2] == (0, [])
    return uid


def test_a_redaction_without_a_reason_is_refused(uid: UUID) -> None:
    for reason in (None, "", "  "):
        with pytest.raises(DataError, match="needs a reason"):
            redact(uid, 5, reason=reason)
    assert len(log_of(uid)) == 10


def test_who_the_database_thought_it_was_is_on_record(uid: UUID) -> None:
    record = log_of(uid)[8]
    (row,) = ask("SELECT session_user::text AS login")
    assert (record["type"], record["actor"], record["facts"]["login"]) == ("event.redacted", "ann", row["login"])


def test_a_redacted_run_keeps_its_facts_and_they_are_still_held_against_their_hashes(uid: UUID) -> None:
    before = [event["facts_text"] for event in log_of(uid)][:8]
    redact(uid, None)
    assert [event["facts_text"] for event in log_of(uid)][:8] == before
    (step,) = ask("SELECT kind, attempts, took, result FROM django_hookflow_stepexecution WHERE step_id = 'step-2'")
    assert step == {"kind": "run", "attempts": 1, "took": 0.25, "result": None}
    assert verify()[:2] == (0, [])
    changed = json.dumps({**log_of(uid)[4]["facts"], "took": 9})
    tamper(f"UPDATE django_hookflow_event SET facts = '{changed}' WHERE run_uid = '{uid}' AND seq = 5")
    assert verify()[:2] == problems_of(audit.HASH_DOES_NOT_HOLD, 5)


@pytest.mark.parametrize(("column", "name"), [("run_id", "order-9"), ("workflow_id", "other")])
def test_the_names_of_a_run_are_covered_also_when_its_first_payload_is_redacted(
    column: str, name: str, uid: UUID, tmp_path: Path
) -> None:
    redact(uid, None)
    tamper(f"UPDATE django_hookflow_head SET {column} = '{name}'")
    status, (problem,), _ = verify()
    assert (status, f"its head has the {column} '{name}', but it was started with" in problem) == (1, True)


def forge(uid: UUID, type_: str, facts: dict[str, Any], payload: Any = None) -> None:
    append(uid, None, (type_, None, payload, facts))


def test_what_was_retained_belongs_to_a_redaction_on_record(uid: UUID, tmp_path: Path) -> None:
    """Readers see it in the place of the payload, so by it a history could be given other contents."""
    forge(uid, "event.retained", {"seq": 1}, {"payload": {"data": {"order": "forged"}}})
    assert verify()[:2] == problems_of(audit.RETAINED_WITHOUT_REDACTION, 11)
    status, lines = run_audit(export(tmp_path / "events.jsonl"))
    assert (status, lines[0]) == (1, f"run {uid} #11: {audit.RETAINED_WITHOUT_REDACTION}")


def test_what_was_retained_of_another_event_does_not_belong_to_it(uid: UUID) -> None:
    append(
        uid,
        None,
        ("event.redacted", None, {"reason": "forged"}, {"seq": 1, "path": ["data"], "login": "eve"}),
        ("event.retained", None, {"payload": {"result": "forged"}}, {"seq": 5}),
    )
    status, problems, _ = verify()
    assert (status, f"run order-1 #12: {audit.RETAINED_WITHOUT_REDACTION}" in problems) == (1, True)


def test_a_record_of_a_redaction_that_was_not_made_is_found(uid: UUID) -> None:
    forge(uid, "event.redacted", {"seq": 5, "path": None, "login": "eve"}, {"reason": "forged"})
    assert verify()[:2] == problems_of(audit.NOT_REDACTED, 11)


def test_a_payload_put_back_after_its_redaction_is_found(uid: UUID) -> None:
    """By somebody who kept payload and salt: the hash holds, the record does not."""
    (kept,) = ask("SELECT salt, payload::text AS text FROM django_hookflow_event WHERE run_uid = %s AND seq = 5", uid)
    redact(uid, 5)
    ask("ALTER TABLE django_hookflow_event DISABLE TRIGGER USER")
    ask(
        "UPDATE django_hookflow_event SET salt = %s, payload = %s::json, payload_digest = NULL WHERE run_uid = %s AND seq = 5",
        *(kept["salt"], kept["text"], uid),
    )
    for row in ask(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'django_hookflow_event'::regclass AND NOT tgisinternal"
    ):
        ask(f"ALTER TABLE django_hookflow_event ENABLE ALWAYS TRIGGER {row['tgname']}")
    assert verify()[:2] == problems_of(audit.NOT_REDACTED, 11)


def test_what_a_later_redaction_removed_is_not_retained_and_has_its_record(uid: UUID) -> None:
    digest = "sha256(salt || convert_to(payload::text, 'UTF8'))"
    tamper(
        f"UPDATE django_hookflow_event SET payload = NULL, salt = NULL, payload_digest = {digest} "
        f"WHERE run_uid = '{uid}' AND seq = 10"
    )
    assert verify()[:2] == problems_of(audit.REDACTION_NOT_ON_RECORD, 10)


def test_redactions_made_one_after_the_other_verify(uid: UUID, tmp_path: Path) -> None:
    for path in (["data", "order"], ["data"], None, None):
        redact(uid, 1, path)
    redact(uid, 5, ["result"])
    redact(uid, None, ["result", "number"])
    redact(uid, None)
    assert verify()[:2] == (0, [])
    assert run_audit(export(tmp_path / "events.jsonl"))[0] == 0


def test_a_chain_written_anew_hides_a_redaction_but_not_that_there_is_none_on_record(uid: UUID) -> None:
    rewrite_chain(uid, f"DELETE FROM django_hookflow_event WHERE run_uid = '{uid}' AND seq > 8")
    assert verify()[:2] == problems_of(audit.REDACTION_NOT_ON_RECORD, 1)
