"""What a run costs: messages, their size, and commits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from django_hookflow.demo.postgres import Address
from tests.e2e.conftest import Deploy, migrate
from tests.e2e.database import Database
from tests.e2e.project import Project
from tests.e2e.qstash_peer import QStashPeer
from tests.waiting import wait_until

LARGEST_MESSAGE = 512
#: The longest that a workflow id and a run id may be.
LONGEST_ID = 200


@dataclass(frozen=True)
class Work:
    """``commits`` that drew a transaction id, which is what has to reach the disk, and all ``transactions``, reads too."""

    commits: int
    transactions: int
    rollbacks: int


@pytest.fixture
def measure(postgres: Address, project: Project) -> Iterator[tuple[Database, Callable[[], Work]]]:
    """A migrated database on a server of its own, and what has been done in it since the last measurement.

    Exact, not sampled: nobody else uses the server and autovacuum is off, so each transaction id that is gone was drawn
    by the run. Statistics are complete once a session has ended, and a session's start counts as one transaction.
    """
    server = postgres.url()
    database = Database.create(server)
    migrate(project, database)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        before: list[tuple[int, ...]] = []

        def count() -> tuple[int, ...]:
            statistics = "FROM pg_stat_database WHERE datname = %s"

            def is_quiet() -> bool:
                return admin.execute(f"SELECT numbackends {statistics}".encode(), [database.name]).fetchone() == (0,)

            wait_until(is_quiet, "every session has ended")
            row = admin.execute(
                "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, xact_commit - sessions, xact_rollback "
                f"{statistics}".encode(),
                [database.name],
            ).fetchone()
            assert row is not None
            return row

        def work() -> Work:
            counted = count()
            since = before[-1] if before else counted
            before.append(counted)
            return Work(*(now - then for now, then in zip(counted, since, strict=True)))

        yield database, work


def test_a_run_of_ten_steps_takes_one_message_and_thirteen_commits(
    deploy: Deploy, peer: QStashPeer, measure: tuple[Database, Callable[[], Work]]
) -> None:
    """The trigger, the claim, the steps and the end; the writes of atomic steps are in the steps' own commits."""
    database, work = measure
    peer.delivers = False
    shop = deploy(on=database)
    work()
    run_id = shop.start("ten-frugal-steps")
    trigger = work()
    (message,) = peer.published
    peer.courier.send(message, shop.webs[0].port)
    turn = work()

    assert shop.status(run_id) == "completed"
    assert len(shop.ledger(run_id)) == 5
    assert len(peer.published) == 1
    assert (trigger, turn) == (Work(commits=1, transactions=1, rollbacks=0), Work(12, 12, 0))


def test_messages_stay_the_same_size(deploy: Deploy, peer: QStashPeer) -> None:
    """With a message for each step, and a history that grows by a kilobyte with each: nothing grows but the seq's digits."""
    shop = deploy(DJANGO_HOOKFLOW_STEPS_PER_TURN=1)
    run_id = shop.start("ten-large-steps", run_id="Bestellung-Ä-1")
    shop.wait_for_completion(1)
    assert len(peer.published) == 11
    contents = [json.loads(message.body) for message in peer.published]
    assert [sorted(content) for content in contents] == [["run_id", "seq", "workflow_id"]] * 11
    assert {(content["workflow_id"], content["run_id"]) for content in contents} == {("ten-large-steps", run_id)}
    digits = [len(str(content["seq"])) for content in contents]
    sizes = {len(message.body) - extra for message, extra in zip(peer.published, digits, strict=True)}
    assert len(sizes) == 1
    assert max(len(message.body) for message in peer.published) < LARGEST_MESSAGE


@pytest.mark.parametrize("character", ["x", "Ä", '"', "\\"])
def test_no_message_is_larger_than_512_bytes(deploy: Deploy, peer: QStashPeer, character: str) -> None:
    """Ids as long as they are let be, of characters that JSON writes with two."""
    shop = deploy()
    run_id = character * (LONGEST_ID // len(character.encode()))
    status, content = shop.ask("w" * LONGEST_ID, [(run_id, {})])
    if status == 200:
        shop.wait_for_completion(1)
        (message,) = peer.published
        assert len(message.body) + 9 < LARGEST_MESSAGE  # a seq may come to have ten digits
    else:
        assert (status, "run_id" in content["error"]) == (400, True)
