"""The owner of the tables changes the past with the guards off: each way is found, and named with run, seq and what."""

from __future__ import annotations

import pytest
from django.core.management import CommandError

from django_hookflow.evidence import audit
from django_hookflow.terminals import counted
from tests.evidence.tampering import make_run, retire, rewrite_chain, tamper, verify
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
    INSERT INTO django_hookflow_event (run_uid, seq, type, step_id, facts, payload, recorded_at, salt, hash)
    SELECT run_uid, {seq}, 'step.completed', 'forged', '{{}}', '{{"result": "forged"}}', last_at, 'salt', sha256('forged')
    FROM django_hookflow_head WHERE run_id = 'order-2'
"""
#: What appends itself to the end with a hash that fits, and leaves the head alone.
APPEND = """
    INSERT INTO django_hookflow_event (run_uid, seq, type, facts, payload, recorded_at, salt, hash)
    SELECT run_uid, last_seq + 1, 'note', '{}', '1', last_at, 'salt', hookflow_event_hash(
      head_hash, run_uid, last_seq + 1, last_at, 1::smallint, 'note', NULL, NULL, '{}', sha256('salt'::bytea || '1'::bytea))
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

LOST = "run order-2: is marked as archived, but its tombstone was not written by archiving it"

FORGED_FACTS = """facts = '{"run_id":"order-2","workflow":"shop.order","timeout":1}'"""


def bad(first: int, last: int | None = None, run_id: str = "order-2") -> str:
    """The problem of events whose hashes do not hold."""
    return f"run {run_id} #{first}{f' to #{last}' if last else ''}: {audit.HASH_DOES_NOT_HOLD}"


#: Order-2 has the events #1 run.triggered, #2 turn.started, #3 to #7 step-0 to step-4, #8 run.completed.
TAMPERINGS: dict[str, tuple[list[str], list[str]]] = {
    "a payload": ([event("""payload = '{"kind":"run","result":"forged"}'""", "= 5")], [bad(5)]),
    "the payload of the first event": ([event("""payload = '{"data":"forged"}'""", "= 1")], [bad(1)]),
    "the payload of the last event": ([event("payload = '2'", "= 8")], [bad(8)]),
    "one space in a payload": ([event("payload = (payload::text || ' ')::json", "= 5")], [bad(5)]),
    "facts": ([event("""facts = '{"kind":"run","attempt":1,"took":9}'""", "= 5")], [bad(5)]),
    "the facts of the first event": ([event(FORGED_FACTS, "= 1")], [bad(1)]),
    "one space in facts": ([event("facts = (facts::text || ' ')::json", "= 5")], [bad(5)]),
    "facts in the place of a payload": (
        [event("facts = payload, payload = facts", "= 5")],
        [bad(5)],
    ),
    "a salt": ([event("salt = 'other'", "= 5")], [bad(5)]),
    "a type": ([event("type = 'run.failed'", "= 8")], [bad(8)]),
    "a run that completed, cancelled": (
        [event("""type = 'run.cancelled', actor = 'eve', payload = '{"reason":"forged"}'""", "= 8")],
        [bad(8)],
    ),
    "a step id": ([event("step_id = 'step-4'", "= 5")], [bad(5)]),
    "an actor, taken away": ([event("actor = NULL", "= 4"), event("actor = 'ann'", "= 5")], [bad(4, 5)]),
    "an actor, one of no name": ([event("actor = ''", "= 5")], [bad(5)]),
    "a version": ([event("version = 2", "= 6")], [bad(6)]),
    "an event that is missing": ([delete("= 5")], ["run order-2 #5: missing"]),
    "several events that are missing": ([delete("BETWEEN 3 AND 5")], ["run order-2 #3 to #5: missing"]),
    "the first event": ([delete("= 1")], ["run order-2 #1: missing"]),
    "events missing, and those after them renumbered": (
        [delete("IN (4, 5)"), *shift(6, -2)],
        [bad(4, 6), "run order-2: its head ends at #8, its events at #6"],
    ),
    "the last but one missing, and the last renumbered": (
        [delete("= 7"), *shift(8, -1)],
        [bad(7), "run order-2: its head ends at #8, its events at #7"],
    ),
    "two neighbours in the other order": (swap(4, 5), [bad(4, 6)]),
    "two events far apart, in each other's place": (swap(3, 7), [bad(3, 4), bad(7, 8)]),
    "an event inserted": (
        [*shift(4, 1), INSERT.format(seq=4)],
        [bad(4, 9), "run order-2: its head ends at #8, its events at #9"],
    ),
    "an event added at the end": ([APPEND], ["run order-2: its head ends at #8, its events at #9"]),
    "an event added at the end that does not fit": (
        [INSERT.format(seq=9)],
        [bad(9), "run order-2: its head ends at #8, its events at #9"],
    ),
    "the tail cut": ([delete("> 5")], ["run order-2: its head ends at #8, its events at #5"]),
    "the last event cut": ([delete("= 8")], ["run order-2: its head ends at #8, its events at #7"]),
    "a hash": ([event("hash = sha256('forged')", "= 5")], [bad(5, 6)]),
    "the last hash": (
        [event("hash = sha256('forged')", "= 8")],
        [bad(8), "run order-2: the hash in its head differs from that of #8"],
    ),
    "a payload and its hash": ([event("payload = '1', hash = sha256('forged')", "= 5")], [bad(5, 6)]),
    "a payload removed": ([event("payload = NULL, salt = NULL", "= 5")], [bad(5)]),
    "a redaction with another digest": (
        [event(REDACT.format("sha256('forged')"), "= 5")],
        [bad(5), f"run order-2 #5: {audit.REDACTION_NOT_ON_RECORD}"],
    ),
    "a redaction that is not on record": (
        [event(REDACT.format(DIGEST), "= 5")],
        [f"run order-2 #5: {audit.REDACTION_NOT_ON_RECORD}"],
    ),
    "a payload behind the digest of the one recorded": (
        [event(f"payload_digest = {DIGEST}, payload = '1'", "= 5")],
        [
            f"run order-2 #5: {audit.DIGEST_BESIDE_PAYLOAD}",
            f"run order-2 #5: {audit.REDACTION_NOT_ON_RECORD}",
        ],
    ),
    "the head's hash": (
        [head("head_hash = sha256('forged')")],
        ["run order-2: the hash in its head differs from that of #8"],
    ),
    "the head's seq, forward": ([head("last_seq = 10")], ["run order-2: its head ends at #10, its events at #8"]),
    "the head's seq, back": ([head("last_seq = 6")], ["run order-2: its head ends at #6, its events at #8"]),
    "the head's workflow": (
        [head("workflow_id = 'other'")],
        ["run order-2: its head has the workflow_id 'other', it was started with 'shop.order'"],
    ),
    "the head's run id": (
        [head("run_id = 'order-9'")],
        ["run order-9: its head has the run_id 'order-9', it was started with 'order-2'"],
    ),
    "the head removed": (
        ["DELETE FROM django_hookflow_head WHERE run_id = 'order-2'"],
        ["run order-2: has 8 events but no head"],
    ),
    "all events removed": ([delete("> 0")], ["run order-2: its head ends at #8, but it has no events"]),
    "a living run marked as archived": (
        [head("archived_at = now()")],
        [
            "run order-2: is marked as archived but still has 8 events",
            "run order-2: is marked as archived, but its tombstone was not written by archiving it",
        ],
    ),
    "two payloads, one after the other": ([event("payload = '1'", "IN (5, 6)")], [bad(5, 6)]),
    "a seq, to one far away": (
        [event("seq = 2000000000", "= 8")],
        [
            "run order-2 #8 to #1999999999: missing",
            "run order-2: its head ends at #8, its events at #2000000000",
        ],
    ),
    "a whole run given another uid": (
        [
            f"UPDATE django_hookflow_event SET run_uid = '{OTHER_UID}' WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-2')"
        ],
        [
            "run order-2: has 8 events but no head",
            bad(1, 8),
            "run order-2: its head ends at #8, but it has no events",
        ],
    ),
    "an event moved to another run": (
        [MOVE],
        [
            "run order-2 #4: missing",
            bad(9, run_id="order-3"),
            "run order-3: its head ends at #8, its events at #9",
        ],
    ),
    "a time": ([event("recorded_at = recorded_at - interval '1 day'", "= 5")], [bad(5)]),
    "a time that no append can have had": ([event("recorded_at = 'infinity'", "= 2")], [bad(2)]),
    "a payload that nothing can read": ([event('payload = \'{"data":"\\u0000"}\'', "= 1")], [bad(1)]),
    "facts that nothing can read": (
        [event('facts = \'{"run_id":"\\u0000"}\'', "= 1")],
        [bad(1)],
    ),
    "facts that are no object": ([event("facts = '[]'", "= 1")], [bad(1)]),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_scenario_16_the_owner_with_triggers_off_is_found_out(what: str) -> None:
    """Scenario 16, the owner's part: each way to change the past is found: which run, which events, what does not hold."""
    statements, problems = TAMPERINGS[what]
    uids = [make_run(f"order-{number}") for number in (1, 2, 3)]
    assert verify() == (0, [], "3 runs with 24 events verified: no problems")
    tamper(*statements)
    status, found, last = verify()
    assert (status, sorted(found)) == (1, sorted(problem.replace("{uid}", str(uids[1])) for problem in problems))
    assert last.endswith(f": {counted(len(problems), 'problem')}")


def test_the_time_of_the_head_is_held_against_that_of_the_last_event() -> None:
    uid = make_run("order-2")
    tamper(head("last_at = '2026-01-01Z'"))
    (problem,) = verify()[1]
    assert problem == (
        "run order-2: its head has the time 2026-01-01T00:00:00.000000Z for #8, but that event has "
        f"{log_of(uid)[-1]['recorded_at']:%Y-%m-%dT%H:%M:%S.%fZ}"
    )


def test_however_many_events_do_not_hold_a_line_names_all_that_follow_each_other() -> None:
    uid = start("order-2")["run_uid"]
    append(uid, 1, *[("note", None, number) for number in range(2_000)])
    tamper(*shift(4, 1), INSERT.format(seq=4))
    assert verify()[1] == ["run order-2: its head ends at #2001, its events at #2002", bad(4, 2002)]
    tamper(event("hash = sha256('forged')", "> 1"))
    assert verify()[1] == ["run order-2: its head ends at #2001, its events at #2002", bad(2, 2002)]


@pytest.mark.parametrize("column", ["type", "facts", "version"])
def test_what_may_never_be_null_does_not_hold_where_it_is(column: str) -> None:
    """As it would be if what comes to null counted as neither right nor wrong."""
    make_run("order-2")
    ask(f"ALTER TABLE django_hookflow_event ALTER {column} DROP NOT NULL")
    try:
        tamper(event(f"{column} = NULL", "= 5"))
        assert verify()[1] == [bad(5)]
    finally:
        tamper(event(f"{column} = " + {"type": "''", "facts": "'{}'", "version": "1"}[column], "= 5"))
        ask(f"ALTER TABLE django_hookflow_event ALTER {column} SET NOT NULL")


def test_a_payload_given_to_an_event_that_had_none_is_found_also_without_a_salt() -> None:
    """Without a salt the digest would be null in SQL, which is what an event without a payload has."""
    run = start("order-2")
    append(run["run_uid"], 1, ("step.superseded", "a", None))
    tamper(event("payload = '1', salt = NULL", "= 2"))
    assert verify()[1] == [bad(2)]


def test_an_event_written_anew_with_a_hash_that_fits_shows_at_the_one_after_it() -> None:
    uid = make_run("order-2")
    hash_ = """hookflow_event_hash((SELECT hash FROM django_hookflow_event AS b WHERE b.run_uid = event.run_uid AND b.seq = 4),
        run_uid, seq, recorded_at, version, type, step_id, actor, facts::text, sha256(salt || '1'::bytea))"""
    tamper(
        f"UPDATE django_hookflow_event AS event SET payload = '1', hash = {hash_} WHERE run_uid = '{uid}' AND seq = 5"
    )
    assert verify()[1] == [bad(6)]


def test_a_chain_written_anew_to_its_end_holds_which_is_why_there_are_checkpoints() -> None:
    uid = make_run("order-2")
    rewrite_chain(uid, event("payload = '\"forged\"'", "= 5"))
    assert verify()[0] == 0
    assert log_of(uid)[4]["payload_text"] == '"forged"'


def test_a_chain_written_anew_from_an_event_without_names_is_not_that_of_its_head() -> None:
    rewrite_chain(make_run("order-2"), event("facts = '{}'", "= 1"))
    assert verify()[1] == [
        "run order-2: its head has the run_id 'order-2', it was started with None",
        "run order-2: its head has the workflow_id 'shop.order', it was started with None",
    ]


def test_what_the_database_computes_is_not_believed() -> None:
    """The owner changes an event, and has the function that hashes say what stands there; and another in front of sha256()."""
    uid = make_run("order-2")
    (row,) = ask(
        "SELECT pg_get_functiondef('hookflow_event_hash'::regproc) AS text, current_setting('search_path') AS path"
    )
    begin = "AS $function$\nBEGIN\n"
    assert begin in row["text"]
    liar = f"  IF p_run_uid = '{uid}' THEN\n    RETURN (SELECT hash FROM django_hookflow_event WHERE run_uid = p_run_uid AND seq = p_seq);\n  END IF;\n"
    try:
        ask(row["text"].replace(begin, begin + liar).replace("IMMUTABLE", "STABLE"))
        tamper(event("payload = '1'", "= 5"))
        assert verify()[1] == [bad(5)]
        ask("CREATE SCHEMA front")
        for type_, result in (("bytea", "''::bytea"), ("uuid", "''::bytea")):
            ask(
                f"CREATE FUNCTION front.{'sha256' if type_ == 'bytea' else 'uuid_send'}({type_}) RETURNS bytea LANGUAGE sql AS $$ SELECT {result} $$"
            )
        ask("CREATE TABLE front.django_hookflow_head (LIKE django_hookflow_head)")
        ask("SET search_path = front, pg_catalog, public")
        assert verify()[1] == [bad(5)]
    finally:
        ask(f"SET search_path = {row['path']}")
        ask("DROP SCHEMA IF EXISTS front CASCADE")
        ask(row["text"])


@pytest.mark.parametrize("table", ["django_hookflow_event", "django_hookflow_head"])
def test_a_view_in_the_place_of_a_table_is_not_read(table: str) -> None:
    make_run("order-2")
    ask(f"ALTER TABLE {table} RENAME TO kept; CREATE VIEW {table} AS SELECT * FROM kept WHERE false")
    try:
        with pytest.raises(CommandError, match="no schema on the search_path of this login has the tables"):
            verify()
    finally:
        ask(f"DROP VIEW {table}; ALTER TABLE kept RENAME TO {table}")


# Tombstones, and nothing but what the owner may do with every trigger on.

TOMBSTONES: dict[str, tuple[list[str], list[str]]] = {
    "a living run marked as archived, and its events deleted": (
        [
            "UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'order-3'",
            "DELETE FROM django_hookflow_event WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-3')",
        ],
        ["run order-3: is marked as archived, but its tombstone was not written by archiving it"],
    ),
    "a tombstone of another run": (
        [
            "UPDATE django_hookflow_head SET archived_at = other.archived_at, tombstone = other.tombstone, "
            "tombstone_hash = other.tombstone_hash FROM django_hookflow_head AS other "
            "WHERE django_hookflow_head.run_id = 'order-3' AND other.run_id = 'order-2'",
            "DELETE FROM django_hookflow_event WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-3')",
        ],
        ["run order-3: is marked as archived, but its tombstone was not written by archiving it"],
    ),
    "another time": ([head("archived_at = archived_at - interval '1 day'")], [LOST]),
    "a time that no clock had": ([head("archived_at = 'infinity'")], [LOST]),
    "another end": ([head("last_seq = 5")], [LOST]),
    "an end beyond all bounds": ([head("last_seq = 2147483647")], [LOST]),
    "another last hash": ([head("head_hash = sha256('')")], [LOST]),
    "another archive": ([head("tombstone = replace(tombstone::text, 'old', 'new')::json")], [LOST]),
    "what nothing can read": ([head('tombstone = \'{"run_id":"\\u0000"}\'')], [LOST]),
    "nothing": ([head("tombstone = NULL")], [LOST]),
    "no hash": ([head("tombstone_hash = NULL")], [LOST]),
    "another id": (
        [head("run_id = 'order-9'")],
        ["run order-9: its head has the run_id 'order-9', it was started with 'order-2'"],
    ),
    "another workflow": (
        [head("workflow_id = 'other'")],
        ["run order-2: its head has the workflow_id 'other', it was started with 'shop.order'"],
    ),
    "taken back": ([head("archived_at = NULL")], ["run order-2: has a tombstone but is not marked as archived"]),
    "taken back, with all that belongs to it": (
        [head("archived_at = NULL, tombstone = NULL, tombstone_hash = NULL")],
        ["run order-2: its head ends at #8, but it has no events"],
    ),
    "taken back, for a run of other events": (
        [
            head(
                "archived_at = NULL, tombstone = NULL, tombstone_hash = NULL, last_seq = 0, head_hash = sha256(uuid_send(run_uid))"
            ),
            "SELECT hookflow_append(run_uid, NULL, ARRAY['run.triggered'], ARRAY[NULL], "
            'ARRAY[\'{"run_id":"order-2","workflow":"other"}\'::json], ARRAY[\'{}\'::json], NULL) '
            "FROM django_hookflow_head WHERE run_id = 'order-2'",
        ],
        ["run order-2: its head has the workflow_id 'shop.order', it was started with 'other'"],
    ),
}


@pytest.mark.parametrize("what", TOMBSTONES)
def test_scenario_33_what_the_owner_does_to_tombstones_with_every_trigger_on_is_found(what: str) -> None:
    statements, problems = TOMBSTONES[what]
    uids = [make_run(f"order-{number}") for number in (1, 2, 3)]
    retire(uids[1], archive="old.jsonl.gz")
    assert verify() == (0, [], "2 runs with 16 events verified, 1 archived run left out: no problems")
    for statement in statements:
        ask(statement)
    assert verify()[:2] == (1, problems)


def test_events_that_come_back_under_a_tombstone_are_found() -> None:
    uid = make_run("order-2")
    retire(uid)
    ask(INSERT.format(seq=9))
    assert verify()[1] == [
        "run order-2: is marked as archived but still has 1 events",
        "run order-2 #1 to #8: missing",
    ]
