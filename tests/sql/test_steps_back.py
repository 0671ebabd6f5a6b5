"""Each migration undone and applied again, one at a time, in a database with runs in every state."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from migrations_sql.collect import APP, migrations_in_order
from tests.log.calls import append, ask, claim, operate, start
from tests.log.states import STATES
from tests.sql.catalog import Catalog, catalog_of, connect

Session = psycopg.Connection[tuple[Any, ...]]
Contents = dict[str, list[str]]

#: Tables that are gone with the migration that makes them, and come back empty. All else that a step back takes away are
#: functions and views, and the triggers of the tables. What was announced can be announced again (the doctor names such
#: runs, and resuming them does it); subscribers begin anew; what checkpoints are for is kept outside of the database.
LOST = {
    "0001_initial": {"event", "event_all", "head", "workflowrun", "wait", "deadletterentry"},
    "0003_delivery": {"outbox", "lease"},
    "0006_reading": {"subscriber"},
    "0007_evidence": {"checkpoint"},
}


@pytest.fixture
def steps(transactional_db: None) -> list[tuple[str, str, str]]:
    """Each migration: its name, the SQL that applies it and the SQL that undoes it, as Django sends it."""
    loader = MigrationLoader(connection)
    nodes = [loader.graph.nodes[APP, each.name] for each in migrations_in_order()]
    forwards, backwards = (
        ["\n".join(loader.collect_sql([(node, is_backwards)])) for node in nodes] for is_backwards in (False, True)
    )
    return list(zip((node.name for node in nodes), forwards, backwards, strict=True))


def fill(session: Session) -> None:
    """Runs in every state, one of them redacted and one retired, a turn under way, and a row in every other table."""
    for name, (events, _, _) in STATES.items():
        uid = start(name, {"email": "ada@example.com"}, timeout=86_400, session=session)["run_uid"]
        if events:
            append(uid, 1, *events, ends_turn=True, session=session)
    redacted = start("redacted", {"email": "ada@example.com"}, session=session)["run_uid"]
    append(redacted, 1, ("run.completed", None, {"result": 1}), session=session)
    ask("SELECT hookflow_redact(%s, 1, '{data,email}', 'erasure', 'ada')", redacted, session=session)
    start("under way", session=session)
    claim("under way", 1, session=session)
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now() WHERE run_id = 'completed'", session=session)
    ask("INSERT INTO django_hookflow_subscriber VALUES ('mail', '{}', 0, NULL, '', now())", session=session)
    ask(
        "INSERT INTO django_hookflow_checkpoint (made_at, runs, events, root, token_digest) "
        "VALUES (now(), 1, 1, sha256(''), sha256(''))",
        session=session,
    )


def contents_of(session: Session) -> Contents:
    """The rows of every table and of every projection that is a view."""
    tables = ask(
        "SELECT relname FROM pg_class WHERE relname LIKE 'django_hookflow%%' AND relkind IN ('r', 'p', 'v')",
        session=session,
    )
    return {
        table["relname"].removeprefix("django_hookflow_"): sorted(
            row["row"] for row in ask(f"SELECT t::text AS row FROM {table['relname']} AS t", session=session)
        )
        for table in tables
    }


def run_sql(session: Session, text: str) -> None:
    with session.transaction():
        session.execute(text.encode())


def test_each_step_back_and_forth_leaves_what_was(database: str, steps: list[tuple[str, str, str]]) -> None:
    catalogs: list[Catalog] = [catalog_of(database)]
    with connect(database) as session:
        for _, forwards, _ in steps:
            run_sql(session, forwards)
            catalogs.append(catalog_of(database))
        fill(session)
        contents = contents_of(session)
        assert not [table for table, rows in contents.items() if not rows], "a table without rows shows nothing"
        for number, (name, forwards, backwards) in reversed(list(enumerate(steps))):
            run_sql(session, backwards)
            assert_same(catalogs[number], catalog_of(database), f"back from {name}")
            left = contents_of(session)
            assert left == {table: rows for table, rows in contents.items() if table in left}
            run_sql(session, forwards)
            assert_same(catalogs[number + 1], catalog_of(database), f"forth again to {name}")
            lost = LOST.get(name, set())
            contents = {table: [] if table in lost else rows for table, rows in contents.items()}
            if "event" in lost:
                contents = {table: [] for table in contents}
            assert contents_of(session) == contents
            run_sql(session, backwards)
            contents = contents_of(session)
        assert contents == {}
        assert_same(catalogs[0], catalog_of(database), "back to nothing")
        for _, forwards, _ in steps:
            run_sql(session, forwards)
        assert_same(catalogs[-1], catalog_of(database), "forth again from nothing")


def assert_same(expected: Catalog, found: Catalog, when: str) -> None:
    for kind, rows in expected.items():
        assert found[kind] == rows, f"{when}: {kind}"


def test_work_goes_on_after_a_step_back_and_forth(database: str, steps: list[tuple[str, str, str]]) -> None:
    """Undoing the functions loses nothing: the runs that were there go on, and their projections are those of the log."""
    with connect(database) as session:
        for _, forwards, _ in steps:
            run_sql(session, forwards)
        fill(session)
        later = [step for step in steps if step[0] >= "0004"]
        for _, _, backwards in reversed(later):
            run_sql(session, backwards)
        for _, forwards, _ in later:
            run_sql(session, forwards)
        (asleep,) = ask("SELECT run_uid FROM django_hookflow_head WHERE run_id = 'asleep'", session=session)
        assert operate(asleep["run_uid"], "wake", session=session)["applied"]
        assert claim("asleep", 6, session=session)[0]["answer"] == "run"
        for projection in ("workflowrun", "wait", "deadletterentry"):
            fold = {"workflowrun": "runs", "wait": "waits", "deadletterentry": "dead_letters"}[projection]
            bounds = "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
            stored, folded = (
                sorted(row["row"] for row in ask(f"SELECT t::text AS row FROM {source} AS t", session=session))
                for source in (f"django_hookflow_{projection}", f"hookflow_fold_{fold}({bounds})")
            )
            assert stored == folded
