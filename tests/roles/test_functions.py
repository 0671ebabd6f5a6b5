"""Everything the engine asks of the database, asked as the application's login; and what reading takes, as a reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from django_hookflow.projections.ranges import PROJECTIONS
from django_hookflow.sql import load
from tests.e2e.database import Database
from tests.log.calls import Row, append, ask, claim, start, step
from tests.roles.dba import Guarded

EVERYTHING = {"from": "00000000-0000-0000-0000-000000000000", "to": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
Session = psycopg.Connection[Any]


@pytest.fixture
def session(guarded: Guarded) -> Iterator[Session]:
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        yield session


def operate(session: Session, run: Row, action: str, step_id: str | None = None, details: str = "{}") -> bool:
    statement = "SELECT applied FROM hookflow_operate(%s, %s, %s, %s::json, 'ops', NULL)"
    (answer,) = ask(statement, run["run_uid"], action, step_id, details, session=session)
    return bool(answer["applied"])


def status(session: Session, run: Row) -> str:
    statement = "SELECT status FROM django_hookflow_workflowrun WHERE run_uid = %s"
    return str(ask(statement, run["run_uid"], session=session)[0]["status"])


def announced(session: Session, run: Row) -> int:
    statement = "SELECT seq FROM django_hookflow_outbox WHERE run_uid = %s AND kind = 'turn'"
    return int(ask(statement, run["run_uid"], session=session)[0]["seq"])


def test_a_turn(session: Session) -> None:
    run = start(data={"a": 1}, session=session)
    assert start(run["run_id"], {"a": 1}, session=session)["same"]
    history = claim(run["run_id"], 1, session=session)
    assert (history[0]["answer"], history[0]["turn_seq"]) == ("run", 2)
    renewed = ask("SELECT hookflow_renew(%s, 2, interval '1 min') AS ok", run["run_uid"], session=session)
    append(run["run_uid"], 2, step("a"), session=session)
    released = ask("SELECT hookflow_release(%s, 2, interval '0') AS ok", run["run_uid"], session=session)
    assert (renewed, released) == ([{"ok": True}], [{"ok": True}])
    assert claim(run["run_id"], 1, session=session)[0]["answer"] == "run"
    append(run["run_uid"], 4, ("run.completed", None, {"result": 1}), ends_turn=True, session=session)
    assert claim(run["run_id"], 1, session=session)[0]["answer"] == "finished"


def test_what_a_run_is_refused_keeps_its_name(session: Session) -> None:
    """The refusals of the functions, not those of privileges."""
    run = start(session=session)
    with pytest.raises(psycopg.errors.UniqueViolation):
        append(run["run_uid"], 7, step("a"), session=session)
    with pytest.raises(psycopg.errors.RestrictViolation):
        operate(session, run, "replay")


def test_operators(session: Session) -> None:
    run = start(session=session)
    assert operate(session, run, "pause")
    assert operate(session, run, "resume")
    claim(run["run_id"], announced(session, run), session=session)
    sleep = ("sleep.started", "a", {"seconds": 3600})
    append(run["run_uid"], None, sleep, ends_turn=True, next_in=3600, session=session)
    woken = "SELECT applied FROM hookflow_wake(%s, '{}'::json, 'ops', NULL)"
    assert ask(woken, run["run_uid"], session=session) == [{"applied": True}]
    assert operate(session, run, "rewind", "a")
    append(run["run_uid"], None, ("step.doubted", "b", {"kind": "run", "attempt": 1}), session=session)
    outcome = '{"outcome": {"kind": "run", "attempt": 1, "result": 1}}'
    assert operate(session, run, "resolve", "b", outcome)
    assert operate(session, run, "cancel")
    assert status(session, run) == "cancelled"


def test_a_failure_is_replayed_and_a_run_expires(session: Session) -> None:
    run = start(session=session)
    failure = ("run.failed", None, {"error": {"message": "no"}, "attempts": 1})
    seq = append(run["run_uid"], 1, failure, ends_turn=True, session=session)
    assert operate(session, run, "replay", details=f'{{"failed_seq": {seq}}}')
    assert status(session, run) == "running"
    statement = (
        "SELECT * FROM hookflow_start(gen_random_uuid(), 'late', 'shop.order', '{}', NULL, p_timeout => interval '0')"
    )
    ask(statement, session=session)
    assert ask("SELECT hookflow_expire('shop.order', 'late') AS answer", session=session) == [{"answer": "failed"}]


def test_a_relay(session: Session) -> None:
    run = start(session=session)
    take = load("outbox_take_due")
    taken = session.execute(take.encode(), {"limit": 1000, "until": None, "overdue": 300}).fetchall()
    (mine,) = [row for row in taken if row[1] == run["run_id"]]
    again = {"run_uid": mine[3], "seq": mine[2], "attempt": mine[4], "in_seconds": 5}
    assert session.execute(load("outbox_reschedule").encode(), again).rowcount == 1
    assert session.execute(load("outbox_seconds_until_next").encode()).fetchone() is not None


@pytest.mark.parametrize("login", ["web", "analyst", "officer"])
def test_reading_and_comparing(guarded: Guarded, login: str) -> None:
    """What the admin reads, and ``hookflow_rebuild --check``: folds included, and inlined as for their owner."""
    database: Database = getattr(guarded, login)
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        run = start(session=session)
    with psycopg.connect(database.conninfo, autocommit=True) as session:
        for projection in PROJECTIONS:
            assert session.execute(projection.statement("diff_rows"), EVERYTHING).fetchall() == []
        assert session.execute("SELECT status FROM hookflow_fold_runs_as_of(%s, 1)", (run["run_uid"],)).fetchall()
        plan = session.execute("EXPLAIN SELECT * FROM hookflow_fold_steps(%(from)s, %(to)s)", EVERYTHING).fetchall()
        assert "Function Scan" not in str(plan)
        session.execute("SELECT last_value FROM django_hookflow_event_position_seq")
    views = guarded.database.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relname LIKE 'hookflow%%'"
    )
    for (view,) in views:
        assert database.rows(f"SELECT * FROM {view} LIMIT 1") is not None
