"""The views for analysts: names and columns as promised, rows of known histories, and the indexes they go by."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from django_hookflow.runtime.trigger import uuid7
from tests.log.calls import append, ask, start

pytestmark = pytest.mark.django_db

COLUMNS = {
    "hookflow_run_durations": "run_uid run_id workflow_id status triggered_at started_at ended_at duration waited worked "
    "turns steps failures",
    "hookflow_step_durations": "run_uid run_id workflow_id seq step_id kind attempt outcome ended_at duration waited",
    "hookflow_failures": "run_uid run_id workflow_id seq what step_id error_type error_message attempt final retry_in "
    "failed_at fingerprint",
    "hookflow_operations": "run_uid run_id workflow_id seq operation step_id actor reason operated_at",
}
TURN = ("turn.started", None, None, {"worker": "w"})


def at(clock: str) -> None:
    """Has the database's clock stand at this time of the first of May."""
    with connection.cursor() as c:
        c.execute(
            "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS "
            f"$$ SELECT '2026-05-01 {clock}Z'::timestamptz $$"
        )


def add_at(clock: str, uid: UUID, *events: Any, actor: str | None = None) -> None:
    at(clock)
    append(uid, None, *events, actor=actor)


def seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=number)


def completed(step_id: str, kind: str = "run", attempt: int = 1, took: float = 0.0, **facts: Any) -> Any:
    return ("step.completed", step_id, {"result": 1}, {"kind": kind, "attempt": attempt, "took": took, **facts})


def failed(step_id: str, attempt: int, took: float, **facts: Any) -> Any:
    facts = {
        "kind": "call",
        "attempt": attempt,
        "took": took,
        "error": "shop.CardDeclined",
        "fingerprint": "f1",
        **facts,
    }
    return ("step.failed", step_id, {"message": f"no {attempt}", "traceback": "T"}, facts)


def suspended(step_id: str, kind: str, **facts: Any) -> Any:
    return ("step.suspended", step_id, None, {"kind": kind, **facts})


@pytest.fixture
def story() -> UUID:
    """A run that sleeps, has a step fail twice, fails, is replayed by somebody, and completes."""
    at("10:00:00")
    uid: UUID = start("order-1", run_uid=uuid7())["run_uid"]
    add_at("10:00:02", uid, TURN)  # 2
    add_at("10:00:03", uid, completed("validate", took=0.5))  # 3
    add_at("10:00:03", uid, suspended("nap", "sleep", seconds=60))  # 4
    add_at("10:01:04", uid, completed("nap", "sleep"), TURN)  # 5, 6
    add_at("10:01:05", uid, failed("charge", 1, 1, retry_in=10), suspended("charge", "backoff", seconds=10))  # 7, 8
    add_at("10:01:16", uid, ("step.retried", "charge", None, {"attempt": 2}), TURN)  # 9, 10
    add_at("10:01:17", uid, ("run.paused", None, None), ("run.resumed", None, None), actor="bob")  # 11, 12
    add_at("10:01:18", uid, failed("charge", 2, 2))  # 13
    error = {"error": "django_hookflow.exceptions.WorkflowError", "attempts": 2}
    add_at("10:01:18", uid, ("run.failed", "charge", {"message": "no 2"}, error))  # 14
    replayed = ("run.replayed", None, {"reason": "card renewed"}, {"failed_seq": 14})
    add_at("11:00:00", uid, replayed, ("step.superseded", "charge", None), actor="ada")  # 15, 16
    add_at("11:00:01", uid, TURN)  # 17
    add_at("11:00:05", uid, completed("charge", "call", took=4))  # 18
    add_at("11:00:06", uid, ("run.completed", None, {"result": 1}))  # 19
    return uid


def rows(view: str, **where: Any) -> list[dict[str, Any]]:
    conditions = " AND ".join(f"{column} = %s" for column in where) or "true"
    order = "" if view == "hookflow_run_durations" else " ORDER BY run_uid, seq"
    return ask(f"SELECT * FROM {view} WHERE {conditions}{order}", *where.values())


@pytest.mark.parametrize("view", COLUMNS)
def test_names_are_promised_and_described(view: str) -> None:
    columns = ask(
        "SELECT attname, col_description(attrelid, attnum) AS found, obj_description(attrelid, 'pg_class') AS view "
        "FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        view,
    )
    assert [column["attname"] for column in columns] == COLUMNS[view].split()
    assert [column["attname"] for column in columns if not column["found"] or not column["view"]] == []


def test_run_durations(story: UUID) -> None:
    (row,) = rows("hookflow_run_durations", run_id="order-1")
    assert (row["run_uid"], row["workflow_id"], row["status"]) == (story, "shop.order", "completed")
    assert (str(row["triggered_at"]), str(row["started_at"])) == (
        "2026-05-01 10:00:00+00:00",
        "2026-05-01 10:00:02+00:00",
    )
    assert row["duration"] == seconds(3606)
    assert row["waited"] == seconds(2 + 61 + 11 + 3522 + 1)
    assert row["worked"] == seconds(0.5 + 1 + 2 + 4)
    assert (row["turns"], row["steps"], row["failures"]) == (4, 3, 2)


def test_a_run_that_was_cancelled_in_its_sleep_has_waited_until_then() -> None:
    at("10:00:00")
    uid = start("order-1")["run_uid"]
    add_at("10:00:01", uid, TURN, suspended("nap", "sleep", seconds=60))
    add_at("10:00:20", uid, ("run.paused", None, None))
    add_at("10:00:30", uid, ("run.cancelled", None, None))
    (row,) = rows("hookflow_run_durations")
    assert (row["waited"], row["worked"]) == (seconds(1 + 29), seconds(0))


def test_a_step_under_way_when_its_run_is_cancelled_has_worked_all_the_time() -> None:
    at("10:00:00")
    uid = start("order-1")["run_uid"]
    add_at("10:00:00", uid, TURN)
    add_at("10:00:50", uid, ("run.paused", None, None))
    add_at("10:00:55", uid, ("run.cancelled", None, None))
    add_at("10:01:00", uid, completed("a", took=60))
    (row,) = rows("hookflow_run_durations")
    assert (row["waited"], row["worked"]) == (seconds(0), seconds(60))
    (row,) = rows("hookflow_step_durations")
    assert (row["duration"], row["waited"]) == (seconds(60), seconds(0))


def test_a_lost_worker_a_doubt_and_an_attempt_without_a_wait() -> None:
    at("10:00:00")
    uid = start("order-1")["run_uid"]
    intended = ("step.intended", "a", None, {"kind": "call", "attempt": 1})
    add_at("10:00:00", uid, TURN, intended)
    add_at("10:01:00", uid, ("turn.abandoned", None, None, {"turn_seq": 2}), TURN)
    add_at("10:01:01", uid, suspended("a", "doubt", attempt=1, step_kind="call"))
    add_at("10:05:01", uid, ("step.resolved", "a", None), completed("a", "call", resolved=True))
    add_at("10:05:02", uid, TURN)
    add_at("10:05:04", uid, completed("b", attempt=2, took=2))
    found = [(row["step_id"], row["duration"], row["waited"]) for row in rows("hookflow_step_durations")]
    assert found == [("a", seconds(0), seconds(240)), ("b", seconds(2), seconds(0))]
    (row,) = rows("hookflow_run_durations")
    assert (row["waited"], row["worked"]) == (seconds(241), seconds(2))


def test_a_run_that_has_not_ended_has_no_duration() -> None:
    at("10:00:00")
    start("order-1")
    (row,) = rows("hookflow_run_durations")
    assert (row["status"], row["started_at"], row["ended_at"], row["duration"], row["worked"]) == (
        *("pending", None, None, None),
        seconds(0),
    )
    assert (row["waited"], row["turns"], row["steps"], row["failures"]) == (seconds(0), 0, 0, 0)


def test_step_durations(story: UUID) -> None:
    found = [
        (row["seq"], row["step_id"], row["kind"], row["attempt"], row["outcome"], row["duration"], row["waited"])
        for row in rows("hookflow_step_durations", run_uid=story)
    ]
    assert found == [
        (3, "validate", "run", 1, "completed", seconds(0.5), seconds(0)),
        (5, "nap", "sleep", 1, "completed", seconds(0), seconds(61)),
        (7, "charge", "call", 1, "failed", seconds(1), seconds(0)),
        (13, "charge", "call", 2, "failed", seconds(2), seconds(11)),
        (18, "charge", "call", 1, "completed", seconds(4), seconds(0)),
    ]


def test_failures(story: UUID) -> None:
    found = [
        (row["seq"], row["what"], row["step_id"], row["error_type"], row["error_message"], row["attempt"], row["final"])
        for row in rows("hookflow_failures", run_id="order-1")
    ]
    assert found == [
        (7, "step", "charge", "shop.CardDeclined", "no 1", 1, False),
        (13, "step", "charge", "shop.CardDeclined", "no 2", 2, True),
        (14, "run", "charge", "django_hookflow.exceptions.WorkflowError", "no 2", 2, True),
    ]
    assert [row["retry_in"] for row in rows("hookflow_failures")] == [seconds(10), None, None]


def test_failures_between_steps_diverged_and_redacted() -> None:
    at("10:00:00")
    uid = start("order-1")["run_uid"]
    error = {"message": "secret", "traceback": ""}
    append(uid, None, ("turn.failed", None, error, {"attempt": 1, "error": "ValueError", "retry_in": 1.5}))
    append(uid, None, ("run.diverged", "a", error, {"error": "Diverged", "recorded": "b", "asked": "a"}))
    append(uid, None, ("step.failed", "b", error, {"attempt": 3, "error": "ValueError"}))
    append(uid, None, ("run.failed", None, error, {"error": "ValueError", "attempts": 1}))
    found = [(row["what"], row["attempt"], row["final"], row["retry_in"]) for row in rows("hookflow_failures")]
    assert found == [
        ("turn", 1, False, seconds(1.5)),
        ("run", None, True, None),
        ("step", 3, True, None),
        ("run", 1, True, None),
    ]
    ask("SELECT hookflow_redact(%s, NULL, NULL, 'asked for', 'dpo')", uid)
    redacted = [(row["error_message"], row["error_type"], row["final"]) for row in rows("hookflow_failures")]
    assert redacted == [(None, "ValueError", False), (None, "Diverged", True), *[(None, "ValueError", True)] * 2]


def test_operations(story: UUID) -> None:
    found = [
        (row["seq"], row["operation"], row["step_id"], row["actor"], row["reason"], str(row["operated_at"]))
        for row in rows("hookflow_operations", run_uid=story)
    ]
    assert found == [
        (11, "run.paused", None, "bob", None, "2026-05-01 10:01:17+00:00"),
        (12, "run.resumed", None, "bob", None, "2026-05-01 10:01:17+00:00"),
        (15, "run.replayed", None, "ada", "card renewed", "2026-05-01 11:00:00+00:00"),
    ]
    ask("SELECT hookflow_redact(%s, 3, NULL, 'erasure request 7', 'dpo')", story)
    assert [row["operation"] for row in rows("hookflow_operations")][2:] == ["run.replayed", "event.redacted"]
    other = start()["run_uid"]
    append(other, None, ("run.paused", None, {"reason": ""}), actor="bob")
    append(other, None, ("run.cancelled", None, {"reason": "no"}))
    others = [(row["operation"], row["actor"], row["reason"]) for row in rows("hookflow_operations", run_uid=other)]
    assert others == [("run.paused", "bob", None), ("run.cancelled", None, "no")]


def explain(statement: str) -> str:
    return "\n".join(row["QUERY PLAN"] for row in ask(f"EXPLAIN {statement}"))


@pytest.fixture
def many_runs() -> None:
    """Enough that an index is worth its while, in three partitions by the months of two years ago."""
    with connection.cursor() as c:
        for number in range(300):
            run_id = f"order-{number}"
            c.execute(
                "SELECT hookflow_start((left(hookflow_uid_at('2024-01-01'::timestamptz + %s * interval '8 hours')::text, 24)"
                " || lpad(to_hex(%s), 12, '0'))::uuid, %s, 'shop.order', '{}'::json, '{}'::json, NULL)",
                [number, number, run_id],
            )
        c.execute(
            "SELECT hookflow_append(run_uid, NULL, array_fill('step.completed'::text, ARRAY[20]),"
            " array_fill('a'::text, ARRAY[20]), array_fill('{\"kind\":\"run\"}'::json, ARRAY[20]),"
            " array_fill('{}'::json, ARRAY[20]), NULL)"
            " FROM django_hookflow_head"
        )
        for table in ("django_hookflow_event", "django_hookflow_head", "django_hookflow_workflowrun"):
            c.execute(f"ANALYZE {table}")


@pytest.mark.parametrize("view", COLUMNS)
def test_one_runs_rows_come_by_the_key(view: str, many_runs: None) -> None:
    (head,) = ask("SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-7'")
    for condition in (f"run_uid = '{head['run_uid']}'", "run_id = 'order-7'"):
        plan = explain(f"SELECT * FROM {view} WHERE {condition}")
        assert "Seq Scan" not in plan, plan
        # An index of acts alone is as good: there are none among these runs.
        assert "_pkey" in plan or "event_pk" in plan or ("recorded_at_idx" in plan and view == "hookflow_operations"), (
            plan
        )


@pytest.mark.parametrize("view", COLUMNS)
def test_a_days_rows_come_from_their_partition(view: str) -> None:
    with connection.cursor() as c:
        c.execute("ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all")
        bounds = ["MINVALUE", "2024-02-01", "2024-03-01", "MAXVALUE"]
        ends = [f"('{uid_at(bound)}')" if bound[0] == "2" else f"({bound})" for bound in bounds]
        for number in range(3):
            c.execute(
                f"CREATE TABLE part_{number} PARTITION OF django_hookflow_event"
                f" FOR VALUES FROM {ends[number]} TO {ends[number + 1]}"
            )
    day = "run_uid >= hookflow_uid_at('2024-02-10') AND run_uid < hookflow_uid_at('2024-02-11')"
    plan = explain(f"SELECT * FROM {view} WHERE {day}")
    if view == "hookflow_run_durations":  # goes to the log run by run, so the server prunes as it goes
        plan = explain_analyzed(view, day)
        assert "never executed" in plan
        return
    scanned = {line.strip() for line in plan.splitlines() if "part_0" in line or "part_2" in line}
    assert "part_1" in plan
    assert all("settling" in line or "earlier" in line or "retained" in line for line in scanned), plan


def uid_at(day: str) -> str:
    (row,) = ask("SELECT hookflow_uid_at(%s::timestamptz)::text AS uid", f"{day} 00:00Z")
    return str(row["uid"])


def explain_analyzed(view: str, condition: str) -> str:
    run_uid = uid_at("2024-02-10")
    start("of-that-day", run_uid=UUID(run_uid))
    return "\n".join(
        row["QUERY PLAN"] for row in ask(f"EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM {view} WHERE {condition}")
    )
