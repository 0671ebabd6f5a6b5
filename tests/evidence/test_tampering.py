"""The owner of the tables changes the past with the guards off: each way is found, and named with run, seq and what."""

from __future__ import annotations

import pytest

from tests.evidence.tampering import make_run, rewrite_chain, tamper, verify
from tests.log.calls import append, ask, log_of, start

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = "UPDATE django_hookflow_event SET {} WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = '{}') AND seq {}"
HEAD = "UPDATE django_hookflow_head SET {} WHERE run_id = '{}'"
DELETE = "DELETE FROM django_hookflow_event WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = '{}') AND seq {}"


def event(change: str, seq: str, run_id: str = "order-2") -> str:
    return EVENT.format(change, run_id, seq)


def head(change: str) -> str:
    return HEAD.format(change, "order-2")


def delete(seq: str) -> str:
    return DELETE.format("order-2", seq)


def shift(from_seq: int, by: int) -> list[str]:
    """Later events make room, or close a gap: by way of seqs that are free, because the key is checked row by row."""
    return [event("seq = seq + 100000", f">= {from_seq}"), event(f"seq = seq - 100000 + ({by})", ">= 100000")]


def swap(one: int, other: int) -> list[str]:
    return [event("seq = 1000", f"= {one}"), event(f"seq = {one}", f"= {other}"), event(f"seq = {other}", "= 1000")]


INSERT = """
    INSERT INTO django_hookflow_event (run_uid, seq, type, step_id, payload, recorded_at, salt, hash)
    SELECT run_uid, {seq}, 'step.completed', 'forged', '{{"result": "forged"}}', last_at, 'salt', sha256('forged')
    FROM django_hookflow_head WHERE run_id = 'order-2'
"""
#: What appends itself to the end with a hash that fits, and leaves the head alone.
APPEND = """
    INSERT INTO django_hookflow_event (run_uid, seq, type, payload, recorded_at, salt, hash)
    SELECT run_uid, last_seq + 1, 'note', '1', last_at, 'salt', hookflow_event_hash(
      head_hash, run_uid, last_seq + 1, last_at, 1::smallint, 'note', NULL, NULL, sha256('salt'::bytea || '1'::bytea))
    FROM django_hookflow_head WHERE run_id = 'order-2'
"""
MOVE = """
    UPDATE django_hookflow_event SET run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-3'), seq = 9
    WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-2') AND seq = 4
"""
REDACT = "payload = NULL, salt = NULL, payload_digest = {}"
DIGEST = "sha256(salt || convert_to(payload::text, 'UTF8'))"
OTHER_UID = "eeeeeeee-0000-7000-8000-000000000000"
BEFORE = "(or #4 was written anew, hash and all)"

#: Order-2 has the events #1 run.triggered, #2 turn.started, #3 to #7 step-0 to step-4, #8 run.completed.
TAMPERINGS: dict[str, tuple[list[str], list[str]]] = {
    "a payload": (
        [event("""payload = '{"kind":"run","result":"forged"}'""", "= 5")],
        [f"run order-2 #5: step.completed step-2: its payload was changed {BEFORE}"],
    ),
    "the payload of the first event": (
        [event("""payload = '{"run_id":"order-2","workflow_id":"shop.order","data":"forged"}'""", "= 1")],
        ["run order-2 #1: run.triggered: its payload was changed"],
    ),
    "the payload of the last event": (
        [event("payload = '2'", "= 8")],
        ["run order-2 #8: run.completed: its payload was changed (or #7 was written anew, hash and all)"],
    ),
    "one space in a payload": (
        [event("payload = (payload::text || ' ')::json", "= 5")],
        [f"run order-2 #5: step.completed step-2: its payload was changed {BEFORE}"],
    ),
    "a salt": (
        [event("salt = 'other'", "= 5")],
        [f"run order-2 #5: step.completed step-2: its payload was changed {BEFORE}"],
    ),
    "a type": (
        [event("type = 'run.failed'", "= 8")],
        ["run order-2 #8: run.failed: its type was changed: 'run.completed' was recorded, 'run.failed' stands there"],
    ),
    "a step id": (
        [event("step_id = 'step-4'", "= 5")],
        [
            "run order-2 #5: step.completed step-4: its step_id was changed: 'step-2' was recorded, 'step-4' stands there",
        ],
    ),
    "an actor, taken away": (
        [event("actor = NULL", "= 4"), event("actor = 'ann'", "= 5")],
        [
            "run order-2 #4: step.completed step-1: its actor was changed: 'ann' was recorded, nothing stands there",
            "run order-2 #5: step.completed step-2: its actor was changed: nothing was recorded, 'ann' stands there",
        ],
    ),
    "a version": (
        [event("version = 2", "= 6")],
        ["run order-2 #6: step.completed step-3: its version was changed: 1 was recorded, 2 stands there"],
    ),
    "an event that is missing": ([delete("= 5")], ["run order-2 #5: is missing"]),
    "several events that are missing": (
        [delete("BETWEEN 3 AND 5")],
        ["run order-2 #3: is missing, and so are all up to #5"],
    ),
    "the first event": ([delete("= 1")], ["run order-2 #1: is missing"]),
    "events missing, and those after them renumbered": (
        [delete("IN (4, 5)"), *shift(6, -2)],
        ["run order-2 #4: events are missing before it: it was recorded as #6, and all from here on were renumbered"],
    ),
    "the last but one missing, and the last renumbered": (
        [delete("= 7"), *shift(8, -1)],
        ["run order-2 #7: events are missing before it: it was recorded as #8, and all from here on were renumbered"],
    ),
    "two neighbours in the other order": (
        swap(4, 5),
        [
            "run order-2 #4: stands in the wrong place: #4 was recorded as #5",
            "run order-2 #5: stands in the wrong place: #5 was recorded as #4",
        ],
    ),
    "two events far apart, in each other's place": (
        swap(3, 7),
        [
            "run order-2 #3: stands in the wrong place: #3 was recorded as #7",
            "run order-2 #7: stands in the wrong place: #7 was recorded as #3",
        ],
    ),
    "an event inserted": (
        [*shift(4, 1), INSERT.format(seq=4)],
        [
            "run order-2 #4: step.completed forged was inserted: it has no place in the chain of this run",
            "run order-2 #5: stands in the wrong place: #5 to #9 were recorded as #4 to #8",
        ],
    ),
    "an event added at the end": (
        [APPEND],
        ["run order-2 #9: was added after the end of the run: its head ends at #8, the log at #9"],
    ),
    "an event added at the end that does not fit": (
        [INSERT.format(seq=9)],
        [
            "run order-2 #9: step.completed forged: neither what it holds nor its hash is what was recorded",
            "run order-2 #9: was added after the end of the run: its head ends at #8, the log at #9",
        ],
    ),
    "the tail cut": (
        [delete("> 5")],
        ["run order-2 #6: its tail was cut: its head ends at #8, #6 to #8 are missing"],
    ),
    "the last event cut": (
        [delete("= 8")],
        ["run order-2 #8: its tail was cut: its head ends at #8, #8 is missing"],
    ),
    "a hash": (
        [event("hash = sha256('forged')", "= 5")],
        ["run order-2 #5: step.completed step-2: its hash was changed, what it holds was not"],
    ),
    "the last hash": (
        [event("hash = sha256('forged')", "= 8")],
        ["run order-2 #8: run.completed: its hash was changed, what it holds was not"],
    ),
    "a payload and its hash": (
        [event("payload = '1', hash = sha256('forged')", "= 5")],
        ["run order-2 #5: step.completed step-2: what it holds was changed, and so was its hash, or what #6 holds"],
    ),
    "a payload removed": (
        [event("payload = NULL, salt = NULL", "= 5")],
        ["run order-2 #5: step.completed step-2: its payload was removed, and no digest took its place"],
    ),
    "a redaction with another digest": (
        [event(REDACT.format("sha256('forged')"), "= 5")],
        [
            "run order-2 #5: its payload was redacted, and no event says by whom and why",
            "run order-2 #5: step.completed step-2: the redaction is forged: the digest is not that of the payload that was recorded",
        ],
    ),
    "a redaction that no event tells of": (
        [event(REDACT.format(DIGEST), "= 5")],
        ["run order-2 #5: its payload was redacted, and no event says by whom and why"],
    ),
    "a payload behind the digest of the one recorded": (
        [event(f"payload_digest = {DIGEST}, payload = '1'", "= 5")],
        [
            "run order-2 #5: its payload was redacted, and no event says by whom and why",
            "run order-2 #5: step.completed step-2: its payload was changed, behind the digest of the one recorded",
        ],
    ),
    "the head's hash": (
        [head("head_hash = sha256('forged')")],
        ["run order-2: its head was changed: its hash is not that of #8 (or #8 was written anew, hash and all)"],
    ),
    "the head's seq, forward": (
        [head("last_seq = 10")],
        ["run order-2: its head was changed: it ends at #10, and its hash is that of #8"],
    ),
    "the head's seq, back": (
        [head("last_seq = 6")],
        ["run order-2: its head was changed: it ends at #6, the log at #8"],
    ),
    "the head's workflow": (
        [head("workflow_id = 'other'")],
        ["run order-2: its head was changed: workflow_id is 'other', it was started with 'shop.order'"],
    ),
    "the head's run id": (
        [head("run_id = 'order-9'")],
        ["run order-9: its head was changed: run_id is 'order-9', it was started with 'order-2'"],
    ),
    "the head removed": (
        ["DELETE FROM django_hookflow_head WHERE run_id = 'order-2'"],
        ["run order-2: has events #1 to #8 under the uid {uid}, and no head: it was removed"],
    ),
    "all events removed": (
        [delete("> 0")],
        ["run order-2: its events #1 to #8 are gone, its head is not that of an archived run"],
    ),
    "a living run marked as archived": (
        [head("archived_at = now()")],
        ["run order-2: is marked as archived, and still has 8 events"],
    ),
    "two payloads, one after the other": (
        [event("payload = '1'", "IN (5, 6)")],
        ["run order-2 #5: step.completed step-2: what it holds was changed, and so was its hash, or what #6 holds"],
    ),
    "a seq, to one far away": (
        [event("seq = 2000000000", "= 8")],
        [
            "run order-2 #8: is missing, and so are all up to #1999999999",
            "run order-2: its head was changed: it ends at #8, the log at #2000000000",
        ],
    ),
    "a whole run given another uid": (
        [
            f"UPDATE django_hookflow_event SET run_uid = '{OTHER_UID}' WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-2')"
        ],
        [
            f"run order-2: has events #1 to #8 under the uid {OTHER_UID}, and no head: it was removed",
            "run order-2 #1: run.triggered: belongs to another run: it was recorded as #1 of run order-2 and moved here",
            "run order-2 #3: step.completed step-0: what it holds was changed, and so was its hash, or what #4 holds",
            "run order-2 #5: step.completed step-2: what it holds was changed, and so was its hash, or what #6 holds",
            "run order-2 #7: step.completed step-4: what it holds was changed, and so was its hash, or what #8 holds",
            "run order-2: its events #1 to #8 are gone, its head is not that of an archived run",
        ],
    ),
    "an event moved to another run": (
        [MOVE],
        [
            "run order-2 #4: is missing",
            "run order-3 #9: step.completed step-1: belongs to another run: it was recorded as #4 of run order-2 and moved here",
            "run order-3 #9: was added after the end of the run: its head ends at #8, the log at #9",
        ],
    ),
    "a time that no append can have had": (
        [event("recorded_at = 'infinity'", "= 2")],
        ["run order-2 #2: turn.started: its payload or its time was changed (or #1 was written anew, hash and all)"],
    ),
    "a payload that nothing can read": (
        [event('payload = \'{"run_id":"\\u0000"}\'', "= 1")],
        ["run order-2 #1: run.triggered: its payload was changed"],
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_scenario_16_the_owner_with_triggers_off_is_found_out(what: str) -> None:
    """Scenario 16, the owner's part: each way to change the past is found, and named by run, seq and what was done."""
    statements, problems = TAMPERINGS[what]
    uids = [make_run(f"order-{number}") for number in (1, 2, 3)]
    assert verify() == (0, [], "3 runs with 24 events verified, 0 archived runs left out: 0 problems")
    tamper(*statements)
    status, found, last = verify()
    assert (status, sorted(found)) == (1, sorted(problem.replace("{uid}", str(uids[1])) for problem in problems))
    assert last.endswith(f": {len(problems)} problems")


def test_the_time_of_the_head_is_held_against_that_of_the_last_event() -> None:
    uid = make_run("order-2")
    tamper(head("last_at = '2026-01-01Z'"))
    (problem,) = verify()[1]
    assert problem == (
        "run order-2: its head was changed: last_at is 2026-01-01T00:00:00.000000Z, #8 was recorded at "
        f"{log_of(uid)[-1]['recorded_at']:%Y-%m-%dT%H:%M:%S.%fZ}"
    )


def test_a_run_in_which_too_much_does_not_fit_is_not_gone_through_to_its_end() -> None:
    uid = start("order-2")["run_uid"]
    append(uid, 1, *[("note", None, number) for number in range(200)])
    tamper(event("payload = '1', hash = sha256('forged')", "> 1"))
    _, problems, _ = verify()
    assert problems[0] == "run order-2: no more than #1 to #40 of its 201 events were looked at: too much does not fit"
    assert problems[1].startswith("run order-2 #2: note: what it holds was changed")
    assert len(problems) == 21


def test_a_time_that_the_projections_remember_is_named() -> None:
    make_run("order-2")
    (recorded_at,) = (e["recorded_at"] for e in ask("SELECT recorded_at FROM django_hookflow_event WHERE seq = 5"))
    tamper(event("recorded_at = recorded_at - interval '1 day'", "= 5"))
    (problem,) = verify()[1]
    assert problem.startswith("run order-2 #5: step.completed step-2: its recorded_at was changed: ")
    assert f"{recorded_at:%Y-%m-%dT%H:%M:%S.%f}Z' was recorded" in problem


def test_a_payload_given_to_an_event_that_had_none_is_found_also_without_a_salt() -> None:
    """Without a salt the digest would be null in SQL, which is what an event without a payload has."""
    run = start("order-2")
    append(run["run_uid"], 1, ("step.superseded", "a", None))
    tamper(event("payload = '1', salt = NULL", "= 2"))
    assert verify()[1] == ["run order-2 #2: step.superseded a: a payload was put there, it was recorded without one"]


def test_an_event_written_anew_with_a_hash_that_fits_shows_at_the_one_after_it() -> None:
    uid = make_run("order-2")
    hash_ = """hookflow_event_hash((SELECT hash FROM django_hookflow_event AS b WHERE b.run_uid = event.run_uid AND b.seq = 4),
        run_uid, seq, recorded_at, version, type, step_id, actor, sha256(salt || '1'::bytea))"""
    tamper(
        f"UPDATE django_hookflow_event AS event SET payload = '1', hash = {hash_} WHERE run_uid = '{uid}' AND seq = 5"
    )
    assert verify()[1] == [
        "run order-2 #6: step.completed step-3: its payload was changed (or #5 was written anew, hash and all)"
    ]


def test_a_chain_written_anew_to_its_end_holds_which_is_why_there_are_checkpoints() -> None:
    uid = make_run("order-2")
    rewrite_chain(uid, event("payload = '\"forged\"'", "= 5"))
    assert verify()[0] == 0
    assert log_of(uid)[4]["payload_text"] == '"forged"'


def test_the_function_that_computes_hashes_replaced_is_found_out() -> None:
    make_run("order-2")
    (row,) = ask("SELECT pg_get_functiondef('hookflow_event_hash'::regproc) AS text")
    try:
        ask(row["text"].replace("p_payload_digest, ''", "'', ''"))
        status, problems, _ = verify()
    finally:
        ask(row["text"])
    assert status == 1
    assert "the function hookflow_event_hash does not compute what is documented: it was replaced" in problems


def test_in_a_long_run_an_insertion_near_the_beginning_is_told_in_two_lines() -> None:
    uid = start("order-2")["run_uid"]
    append(uid, 1, *[("note", None, number) for number in range(2_000)])
    tamper(*shift(4, 1), INSERT.format(seq=4))
    assert verify()[1] == [
        "run order-2 #4: step.completed forged was inserted: it has no place in the chain of this run",
        "run order-2 #5: stands in the wrong place: #5 to #2002 were recorded as #4 to #2001",
    ]
