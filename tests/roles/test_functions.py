"""Everything the engine asks of the database, asked as the application's login; and what reading takes, as a reader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from django_hookflow.projections.ranges import PROJECTIONS
from django_hookflow.sql import load
from tests.e2e.database import Database
from tests.log.calls import Row, append, ask, claim, failure, sleep, start, step
from tests.log.calls import operate as operated
from tests.roles.dba import Guarded

EVERYTHING = {"from": "00000000-0000-0000-0000-000000000000", "to": "ffffffff-ffff-ffff-ffff-ffffffffffff"}
Session = psycopg.Connection[Any]


@pytest.fixture
def session(guarded: Guarded) -> Iterator[Session]:
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        yield session


def operate(session: Session, run: Row, action: str, **details: Any) -> bool:
    return bool(operated(run["run_uid"], action, session=session, **details)["applied"])


def status(session: Session, run: Row) -> str:
    statement = "SELECT status FROM django_hookflow_workflowrun WHERE id = %s"
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
    append(run["run_uid"], 4, sleep("a", 3600), ends_turn=True, session=session)
    assert operate(session, run, "wake")
    assert operate(session, run, "rewind", step_id="a")
    doubt = ("step.suspended", "b", None, {"kind": "doubt", "step_kind": "run", "attempt": 1})
    append(run["run_uid"], None, doubt, session=session)
    assert operate(session, run, "resolve", step_id="b", payload={"reason": "", "outcome": {"result": 1}})
    assert operate(session, run, "cancel")
    assert status(session, run) == "cancelled"


def test_a_failure_is_replayed_and_a_run_expires(session: Session) -> None:
    run = start(session=session)
    seq = append(run["run_uid"], 1, failure(), ends_turn=True, session=session)
    assert operate(session, run, "replay", facts={"failed_seq": seq})
    assert status(session, run) == "running"
    start("late", timeout=0, session=session)
    assert ask("SELECT hookflow_expire('shop.order', 'late') AS answer", session=session) == [{"answer": "failed"}]


def test_a_relay(session: Session) -> None:
    run = start(session=session)
    taken = session.execute("SELECT * FROM hookflow_take(1000, NULL, '300 s')").fetchall()
    (mine,) = [row for row in taken if row[1] == run["run_id"]]
    again = {"run_uid": mine[3], "kind": "turn", "seq": mine[2], "attempt": mine[4], "in_seconds": 5}
    assert session.execute(load("outbox_reschedule").encode(), again).rowcount == 1
    assert session.execute(load("outbox_next_due").encode()).fetchone() is not None
    session.execute(load("outbox_catch_up").encode(), {"is_back": True})


@pytest.mark.django_db  # names are quoted by a connection of Django's
@pytest.mark.parametrize("login", ["web", "analyst", "officer"])
def test_reading_and_comparing(guarded: Guarded, login: str) -> None:
    """What the admin reads, and ``hookflow_rebuild --check``: folds included, and inlined as for their owner."""
    database: Database = getattr(guarded, login)
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        run = start(session=session)
        append(run["run_uid"], 1, step("validate"), session=session)
    with psycopg.connect(database.conninfo, autocommit=True) as session:
        for projection in PROJECTIONS:
            assert session.execute(projection.compose("diff_rows"), EVERYTHING).fetchall() == []
        assert session.execute("SELECT status FROM hookflow_fold_runs_as_of(%s, 1)", (run["run_uid"],)).fetchall()
        assert session.execute("SELECT verdict FROM hookflow_may(%s)", (run["run_uid"],)).fetchall()
        for projection in PROJECTIONS:
            plan = session.execute(f"EXPLAIN SELECT * FROM {projection.fold}(%(from)s, %(to)s)", EVERYTHING).fetchall()
            assert "Function Scan on hookflow_fold" not in str(plan)
        assert session.execute("SELECT took FROM django_hookflow_stepexecution").fetchall()
        session.execute("SELECT last_value FROM django_hookflow_event_position_seq")
    views = guarded.database.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relname LIKE 'hookflow%%'"
    )
    for (view,) in views:
        assert database.rows(f"SELECT * FROM {view} LIMIT 1") is not None
