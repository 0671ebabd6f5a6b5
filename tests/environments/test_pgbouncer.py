"""Scenario 17: PgBouncer in transaction mode, with fewer connections to the server than there are workers."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.e2e.database import Database
from tests.environments.conftest import MakeFleet
from tests.environments.servers import pgbouncer_version, running_pgbouncer

SERVER_CONNECTIONS = 2
RUNS = [f"run-{number}" for number in range(12)]
#: What Django's documentation asks for with transaction pooling.
ENTRY = {"DISABLE_SERVER_SIDE_CURSORS": True}
LEDGER = ["plain-1", "atomic-1", "plain-2", "atomic-2", "flaky", "flaky", "plain-3", "atomic-3", "plain-4"]
#: What PgBouncer itself keeps per client and sets when it hands a connection on.
TRACKED = {"application_name", "client_encoding", "DateStyle", "standard_conforming_strings", "TimeZone"}


#: From here on it carries prepared statements over; of earlier ones a part of these tests is skipped.
CARRIES_PREPARED = (1, 21)


@pytest.fixture
def bouncer(database: Database) -> Iterator[Database]:
    with running_pgbouncer(database, SERVER_CONNECTIONS) as bouncer:
        yield bouncer


@pytest.mark.parametrize("transport", ["inline", "http"])
def test_runs_of_ten_steps(bouncer: Database, database: Database, make_fleet: MakeFleet, transport: str) -> None:
    """Everything completes, with more threads at work than there are connections, and renewals of leases among them."""
    fleet = make_fleet(bouncer, ENTRY, DJANGO_HOOKFLOW_TRANSPORT=transport, DJANGO_HOOKFLOW_LEASE_SECONDS=2)
    web = fleet.start_wsgi(threads=6)
    assert fleet.tell(web)["is_test_environment"] is False
    for _ in range(2):
        fleet.start_relay("--concurrency", "4", to=web)
    fleet.start("ten-steps", *RUNS[:-1])
    fleet.start("ten-steps", RUNS[-1], seconds=1)
    fleet.wait_for_status("completed", *RUNS, timeout=60)
    for run_id in RUNS:
        assert fleet.ledger(run_id) == LEDGER
        assert fleet.events(run_id).count("step.failed flaky") == 1
    fleet.check()
    assert "Traceback" not in fleet.log()
    check_no_session_state(bouncer, database)


def test_prepared_statements_that_it_does_not_carry_over(bouncer: Database, make_fleet: MakeFleet) -> None:
    """Asked for against the documentation: before its version 1.21 each transaction may find another session's. A step may
    fail for it and is tried again; then nothing is prepared on that connection any more."""
    fleet = make_fleet(bouncer, ENTRY, DJANGO_HOOKFLOW_TRANSPORT="inline", DJANGO_HOOKFLOW_PREPARED_STATEMENTS=True)
    fleet.start_relay("--concurrency", "4")
    fleet.start("ten-steps", *RUNS[:4])
    fleet.wait_for_status("completed", *RUNS[:4], timeout=60)
    for run_id in RUNS[:4]:
        assert [line for line in fleet.ledger(run_id) if line.startswith("atomic")] == [
            "atomic-1",
            "atomic-2",
            "atomic-3",
        ]
    fleet.check()


def test_prepared_statements_that_it_carries_over(bouncer: Database, make_fleet: MakeFleet) -> None:
    """Then nothing fails for them, and the server's sessions have them under the names that it gave."""
    found = pgbouncer_version()
    if found < CARRIES_PREPARED:
        pytest.skip(f"PgBouncer {'.'.join(map(str, found))} carries no prepared statements over; that came with 1.21")
    fleet = make_fleet(bouncer, ENTRY, DJANGO_HOOKFLOW_TRANSPORT="inline", DJANGO_HOOKFLOW_PREPARED_STATEMENTS=True)
    fleet.start_relay("--concurrency", "4")
    fleet.start("ten-steps", *RUNS)
    fleet.wait_for_status("completed", *RUNS, timeout=60)
    for run_id in RUNS:
        assert fleet.ledger(run_id) == LEDGER
        assert fleet.events(run_id).count("step.failed flaky") == 1
    prepared = bouncer.rows("SELECT name, statement FROM pg_prepared_statements")
    assert {name.split("_")[0] for name, _ in prepared} == {"PGBOUNCER"}
    assert any("hookflow_complete" in statement for _, statement in prepared)
    fleet.check()
    assert "prepared" not in fleet.log()


def check_no_session_state(bouncer: Database, database: Database) -> None:
    """Both server connections, as any client may get them: nothing is set, prepared, locked or listened to."""
    with psycopg.connect(bouncer.conninfo) as one, psycopg.connect(bouncer.conninfo) as other:
        pids = set()
        for connection in (one, other):
            pids |= set(connection.execute("SELECT pg_backend_pid()").fetchall())
            found = connection.execute("SELECT name FROM pg_settings WHERE source = 'session'").fetchall()
            assert {name for (name,) in found} <= TRACKED
            assert connection.execute("SELECT statement FROM pg_prepared_statements").fetchall() == []
            assert connection.execute("SELECT pg_listening_channels()").fetchall() == []
        assert len(pids) == SERVER_CONNECTIONS
    held = "SELECT l.* FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
    assert database.rows(f"{held} WHERE l.locktype = 'advisory' AND d.datname = current_database()") == []
