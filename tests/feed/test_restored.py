"""A log that has been restored into another cluster, whose transaction ids mean something else: nothing is lost."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_hookflow.demo.installation import PostgresUnavailable, find_installation
from django_hookflow.feed.positions import Position, Snapshot
from django_hookflow.feed.reader import Feed
from tests.e2e.database import Database
from tests.environments.servers import running_server
from tests.feed.processes import as_url, connect_to, run
from tests.feed.reading import (
    add,
    feed_from_now,
    new_run,
    open_transaction,
    read_all,
    restarted,
    steps_of,
    wait_until_settled,
)
from tests.log.calls import ask, session

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db(transaction=True)

#: Further than tests beside one bring this server, unless it is on purpose.
AHEAD = 20_000
BURN = "DO $$ BEGIN FOR i IN 1 .. {} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
BURN_TO = "DO $$ BEGIN WHILE pg_current_xact_id() <= '{}'::xid8 LOOP COMMIT; END LOOP; END $$"


@pytest.fixture
def only_burner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No other worker's test brings the server further by AHEAD meanwhile: it has one count for all its databases."""
    with (tmp_path_factory.getbasetemp().parent / "burner").open("w") as shared_by_workers:
        fcntl.flock(shared_by_workers, fcntl.LOCK_EX)
        yield


@contextmanager
def as_another_cluster(xid: int) -> Iterator[None]:
    """What is appended in here says that it was written by this transaction."""
    with session() as owner:
        owner.execute(f"ALTER TABLE django_hookflow_event ALTER COLUMN xid SET DEFAULT '{xid}'::xid8")
        try:
            yield
        finally:
            owner.execute("ALTER TABLE django_hookflow_event ALTER COLUMN xid SET DEFAULT pg_current_xact_id()")


def next_xid() -> int:
    (row,) = ask("SELECT pg_current_xact_id()::text AS xid")
    return int(row["xid"]) + 1


@pytest.mark.usefixtures("only_burner")
def test_a_reader_from_the_beginning_reads_what_another_cluster_wrote_once() -> None:
    uid = new_run()
    later = next_xid() + AHEAD
    with as_another_cluster(later):
        add(uid, "of another cluster, later")
    with as_another_cluster(5):
        add(uid, "of another cluster, long ago")
    add(uid, "ours")
    feed = Feed()
    assert [event.seq for event in read_all(feed)] == [1, 2, 3, 4]
    wait_until_settled(feed)
    with session() as other:
        other.execute(BURN_TO.format(later))
    add(uid, "new")
    assert steps_of(read_all(restarted(feed))) == ["new"], "the ids of this cluster have passed the other's"


@pytest.mark.usefixtures("only_burner")
def test_a_position_from_another_cluster_is_read_again_from_its_floor() -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, "a")
    assert steps_of(read_all(feed)) == ["a"]
    wait_until_settled(feed)
    later = next_xid() + AHEAD
    with as_another_cluster(later):
        add(uid, "b")
    moved = Feed(replace(feed.position, cluster="another", seen=Snapshot.parse("999999:999999:")))
    assert steps_of(read_all(moved)) == ["b"]
    wait_until_settled(moved)
    with session() as other:
        other.execute(BURN_TO.format(later))
    assert read_all(restarted(moved)) == []


def test_so_is_an_open_window() -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, *"abc")
    assert steps_of(feed.read(1)) == ["a"]
    moved = Feed(replace(feed.position, cluster="another"))
    assert steps_of(read_all(moved)) == ["a", "b", "c"], "at least once"


def test_a_server_that_has_gone_back_in_time_is_noticed() -> None:
    """A failover to a standby that had not got the last transactions: the same cluster, and its ids come again."""
    uid = new_run()
    feed = feed_from_now()
    add(uid, "a")
    assert steps_of(read_all(feed)) == ["a"]
    wait_until_settled(feed)
    xid = next_xid() + 10**9
    ahead = replace(feed.position, seen=Snapshot(xid, xid))
    add(uid, "b")
    assert steps_of(read_all(Feed(ahead))) == ["b"]


def test_what_is_open_when_the_reader_first_looks_is_not_lost() -> None:
    uid, other = new_run(), new_run()
    with open_transaction() as slow:
        add(uid, "slow", within=slow)
        add(other, "b")
        feed = Feed(Position.after(0).moved_to("another"))
        assert steps_of(read_all(feed)) == [None, None, "b"]
        slow.commit()
    assert steps_of(read_all(restarted(feed))) == ["slow"]


def copy_database(target: str) -> None:
    """pg_dump of the test's database into another one."""
    try:
        programs = str(find_installation() / "bin")
    except PostgresUnavailable:
        programs = None
    pg_dump, psql = shutil.which("pg_dump", path=programs), shutil.which("psql", path=programs)
    if pg_dump is None or psql is None:
        pytest.skip("pg_dump is neither in the embedded PostgreSQL nor on the PATH")
    entry = connection.settings_dict
    source = f"host={entry['HOST']} port={entry['PORT'] or 5432} user={entry['USER']} dbname={entry['NAME']}"
    if entry["PASSWORD"]:
        source += f" password={entry['PASSWORD']}"
    dump = subprocess.run([pg_dump, "--no-owner", "--dbname", source], capture_output=True, check=False)
    assert dump.returncode == 0, dump.stderr.decode()
    command = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "--dbname", target]
    restored = subprocess.run(command, input=dump.stdout, capture_output=True, check=False)
    assert restored.returncode == 0, restored.stderr.decode()


def test_a_dump_restored_elsewhere_goes_on_where_it_was(process_environment: dict[str, str]) -> None:
    uid = new_run()
    add(uid, "a")
    assert run(process_environment, "hookflow_subscribers", "--once")[:2] == (0, "Done: 1 event delivered\n")
    with session() as other:
        other.execute(BURN.format(5_000))
    add(uid, "b", "c")
    with running_server() as server:
        database = Database.create(server.url)
        copy_database(database.conninfo)
        environment = {**process_environment, "DATABASE_URL": as_url(server.url, database.name)}

        def serve_once() -> list[Any]:
            code, _, errors = run(environment, "hookflow_subscribers", "--once")
            assert (code, errors) == (0, "")
            # At least once: what lies above the floor comes again, and how low that is depends on what else was open.
            return sorted({row[0] for row in database.rows("SELECT amount FROM testapp_ledgerentry")})

        assert database.value("SELECT pg_current_xact_id()::text::bigint") < 5_000
        assert serve_once() == [2, 3, 4]
        with connect_to(database) as there:
            add(uid, "d", within=there)
        assert serve_once() == [2, 3, 4, 5]
        database.execute(BURN.format(10_000))
        assert serve_once() == [2, 3, 4, 5]
        with connect_to(database) as there:
            add(uid, "e", within=there)
        assert serve_once() == [2, 3, 4, 5, 6]
