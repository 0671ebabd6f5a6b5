"""Scenario 17: PostgreSQL goes away and comes back, connections are killed and refused, transactions deadlock."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.environments.conftest import MakeFleet, migrate, own_database
from tests.environments.fleet import Fleet
from tests.environments.servers import Server, running_server
from tests.waiting import wait_until

#: The relay takes a run up again this many seconds after a turn that had to let it go, or when its lease has run out.
LEASE = 3


def check_went_through(fleet: Fleet, run_id: str, steps: list[str], *, again: Collection[str] = ()) -> None:
    """Each step recorded once and its effect there once, save that of a plain step, which may be there again."""
    fleet.wait_for_status("completed", run_id)
    completed = [event.split()[1] for event in fleet.events(run_id) if event.startswith("step.completed")]
    assert completed == steps
    written = fleet.ledger(run_id)
    assert [step for step in written if step not in again] == [step for step in steps if step not in again]
    assert set(written) == set(steps)
    fleet.check()


@pytest.mark.parametrize("how", ["restart", "crash"])
@pytest.mark.parametrize("kind", ["atomic", "run"])
def test_postgresql_goes_away_in_a_step(
    server: Server, database_there: Database, make_fleet: MakeFleet, outside: Outside, how: str, kind: str
) -> None:
    """The relay's, which waits for the server to come back. A crash takes the leases along, which are not logged, and
    what was prepared on the connections."""
    prepared = how == "crash"
    fleet = make_fleet(
        database_there, DJANGO_HOOKFLOW_LEASE_SECONDS=LEASE, DJANGO_HOOKFLOW_PREPARED_STATEMENTS=prepared
    )
    relay = fleet.start_relay("--transport", "inline")
    outside.close_gate("written")
    fleet.start("waiting", "run-1", kind=kind)
    outside.wait_for_arrival("written")
    assert database_there.value("SELECT count(*) FROM django_hookflow_lease") == 1
    server.stop() if how == "restart" else server.crash()
    server.start()
    if how == "crash":
        assert database_there.value("SELECT count(*) FROM django_hookflow_lease") == 0
    outside.open_gate("written")
    check_went_through(fleet, "run-1", ["work", "after"], again={"work"} if kind == "run" else ())
    assert relay.is_running()
    if kind == "atomic":  # its transaction is gone, while a plain step's outcome may still have been recorded
        assert "a turn of run run-1 ended early" in fleet.log()


@pytest.mark.parametrize("kind", ["atomic", "run"])
def test_a_crash_loses_the_lease_of_a_worker_in_a_step(
    server: Server, database_there: Database, make_fleet: MakeFleet, outside: Outside, kind: str
) -> None:
    """Another delivery then finds no lease and runs the turn; what the first worker knows of the log is too little."""
    fleet = make_fleet(database_there)
    one, other = fleet.start_wsgi(), fleet.start_wsgi()
    fleet.start("waiting", "run-1", kind=kind)
    outside.close_gate("written")
    first = fleet.begin_delivery(one, "waiting", "run-1")
    outside.wait_for_arrival("written")
    server.crash()
    server.start()
    second = fleet.begin_delivery(other, "waiting", "run-1")
    outside.wait_for_arrival("written", 2)
    assert fleet.events("run-1") == ["run.triggered", "turn.started", "turn.abandoned", "turn.started"]
    outside.open_gate("written")
    assert second.result().short == (200, "completed")
    assert first.result().short == (200, "lost")
    check_went_through(fleet, "run-1", ["work", "after"], again={"work"} if kind == "run" else ())


def kill_connections(database: Database) -> int:
    """Of everyone but the caller."""
    query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
    return int(database.value(f"{query} AND pid <> pg_backend_pid()"))


@pytest.mark.parametrize(("kind", "status"), [("atomic", 503), ("run", 200)])
def test_a_connection_killed_inside_a_step(
    database: Database, make_fleet: MakeFleet, outside: Outside, kind: str, status: int
) -> None:
    """An atomic step's effect is gone with it and wants another delivery. A plain step's outcome can still be recorded."""
    fleet = make_fleet(database)
    web = fleet.start_wsgi()
    fleet.start("waiting", "run-1", kind=kind)
    outside.close_gate("written")
    delivery = fleet.begin_delivery(web, "waiting", "run-1")
    outside.wait_for_arrival("written")
    assert kill_connections(database) > 0
    outside.open_gate("written")
    answer = delivery.result()
    assert answer.status == status
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0
        assert fleet.events("run-1") == ["run.triggered", "turn.started"]
        assert fleet.deliver(web, "waiting", "run-1").short == (200, "completed")
        assert "turn.abandoned" not in fleet.events("run-1")  # it was handed back
        assert "a turn of run run-1 ended early" in fleet.log()
    check_went_through(fleet, "run-1", ["work", "after"])


def test_a_connection_killed_between_steps(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    fleet = make_fleet(database)
    web = fleet.start_wsgi()
    fleet.start_relay("--transport", "inline")
    outside.close_gate("between")
    fleet.start("waiting-between", "run-1")
    outside.wait_for_arrival("between")
    assert kill_connections(database) > 0
    outside.open_gate("between")
    check_went_through(fleet, "run-1", ["before", "after"])
    assert fleet.deliver(web, "waiting-between", "run-1").short == (200, "finished")


def test_a_connection_killed_while_a_turn_is_claimed(database: Database, make_fleet: MakeFleet) -> None:
    """The turn was neither taken nor claimed: the relay takes it on a new connection, not only when it is overdue."""
    fleet = make_fleet(database)
    fleet.start("waiting", "run-1", kind="atomic")
    with psycopg.connect(database.conninfo) as session:
        session.execute("LOCK TABLE django_hookflow_lease IN SHARE MODE")  # which reading does not wait for
        relay = fleet.start_relay("--transport", "inline")
        blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%hookflow_take%%'"
        ((pid,),) = wait_until(lambda: database.rows(blocked), "the relay waits to write the lease")
        database.execute(f"SELECT pg_terminate_backend({pid})")
        wait_until(lambda: "the database is unavailable" in fleet.log(), "the relay has noticed")
    check_went_through(fleet, "run-1", ["work", "after"])
    assert relay.is_running()


def test_connections_killed_all_the_time(database: Database, make_fleet: MakeFleet) -> None:
    """A dozen times, wherever the runs happen to be. Nothing but time is lost."""
    fleet = make_fleet(database, DJANGO_HOOKFLOW_LEASE_SECONDS=LEASE, DJANGO_HOOKFLOW_OVERDUE_SECONDS=LEASE)
    relay = fleet.start_relay("--transport", "inline", "--concurrency", "4")
    run_ids = [f"run-{number}" for number in range(12)]
    fleet.start("ten-steps", *run_ids, seconds=0.1)
    completed = "SELECT count(*) FROM django_hookflow_event WHERE type = 'step.completed'"
    kills = 0
    while kills < 12:
        wait_until(lambda: database.value(completed) >= 5 * kills, "the runs go on")  # noqa: B023 - asked at once
        kills += kill_connections(database) > 0
    fleet.wait_for_status("completed", *run_ids, timeout=60)
    assert relay.is_running()
    atomic = ["atomic-1", "atomic-2", "atomic-3"]
    for run_id in run_ids:
        assert [step for step in fleet.ledger(run_id) if step in atomic] == atomic
    fleet.check()


def test_a_deadlock_between_an_atomic_step_and_another_session(
    database: Database, make_fleet: MakeFleet, outside: Outside
) -> None:
    """PostgreSQL makes the step give way: the attempt has failed, its writes are rolled back, and it is tried again."""
    fleet = make_fleet(database)
    fleet.start_relay("--transport", "inline")
    entry = "INSERT INTO testapp_ledgerentry (account, amount, reference, created_at) VALUES ('both', 1, '{}', now())"
    database.execute(";".join(entry.format(reference) for reference in ("first", "second")))
    lock = "SELECT id FROM testapp_ledgerentry WHERE reference = %s FOR UPDATE"
    outside.close_gate("first-locked")
    with psycopg.connect(database.conninfo) as session, ThreadPoolExecutor(1) as pool:
        session.execute("SET deadlock_timeout = '1min'")  # so that the other one is the first to look
        session.execute(lock, ["second"])
        fleet.start("locking", "run-1")
        outside.wait_for_arrival("first-locked")
        waiting = pool.submit(session.execute, lock, ["first"])
        wait_until(lambda: is_blocked(database, session.info.backend_pid), "this session waits for the step's lock")
        outside.open_gate("first-locked")
        waiting.result(timeout=30)
        session.rollback()
    check_went_through(fleet, "run-1", ["lock", "after"])
    assert fleet.events("run-1").count("step.failed lock") == 1
    (error,) = database.rows("SELECT facts->>'error' FROM django_hookflow_event WHERE type='step.failed'")
    assert error == ("django.db.utils.OperationalError",)


def is_blocked(database: Database, pid: int) -> bool:
    return bool(database.value("SELECT cardinality(pg_blocking_pids(%s))", pid))


def test_no_connection_is_left(make_fleet: MakeFleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    """max_connections is reached: the delivery is refused with a time to come back, and nothing has happened."""
    with running_server(max_connections="12") as server, own_database(server.url) as database:
        migrate(database, tmp_path_factory.mktemp("migrate"))
        fleet = make_fleet(database)
        web = fleet.start_wsgi()
        fleet.start("ten-steps", "run-1")
        with ExitStack() as taken:
            take_all_connections(database, taken)
            answer = fleet.deliver(web, "ten-steps", "run-1")
            assert answer.short == (503, "the database could not be reached")
            assert int(answer.headers["retry-after"]) > 0
        assert fleet.events("run-1") == ["run.triggered"]
        wait_until(lambda: fleet.deliver(web, "ten-steps", "run-1").status == 200, "a connection is free again")
        fleet.start_relay("--transport", "inline")
        fleet.wait_for_status("completed", "run-1")
        fleet.check()


def take_all_connections(database: Database, taken: ExitStack) -> None:
    def take_one() -> bool:
        try:
            taken.enter_context(psycopg.connect(database.conninfo))
        except psycopg.OperationalError as error:
            return "too many clients" in str(error)
        return False

    wait_until(take_one, "no connection is left")
