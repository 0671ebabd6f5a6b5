"""trigger() in a user's views: in transactions that do not commit, while QStash is away, and many at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment
from tests.e2e.outside import Outside
from tests.e2e.qstash_peer import Outage, QStashPeer
from tests.waiting import wait_until

TABLES = ["head", "event", "outbox", "lease", "workflowrun", "stepexecution", "deadletterentry"]
OVERDUE = 300
#: What a user's request may wait for a QStash that does not answer. Connecting and reading time out before that.
PATIENCE = 8.0


def count_rows(shop: Deployment) -> dict[str, int]:
    tables = [f"django_hookflow_{table}" for table in TABLES] + ["shop_ledgerentry"]
    return {table: shop.database.value(f"SELECT count(*) FROM {table}") for table in tables}


def start_in_time(shop: Deployment, run_id: str) -> None:
    started = time.monotonic()
    assert shop.start("two-effects", run_id=run_id) == run_id
    assert time.monotonic() - started < PATIENCE


def check_ran_once(shop: Deployment, run_id: str) -> None:
    shop.wait_for_completion(1)
    assert shop.ledger(run_id) == ["atomic", "plain"]
    assert shop.events(run_id).count("turn.started") == 1


@pytest.mark.parametrize(
    ("via", "status", "options"),
    [
        ("start-and-roll-back", 200, {}),
        ("start-and-raise", 500, {"ATOMIC_REQUESTS": True}),
        ("start-and-roll-back", 200, {"ATOMIC_REQUESTS": True}),
    ],
)
def test_a_transaction_that_rolls_back_leaves_nothing(
    deploy: Deploy, peer: QStashPeer, via: str, status: int, options: dict[str, Any]
) -> None:
    """Scenario 9. By the caller's own rollback, and by an exception under ATOMIC_REQUESTS."""
    shop = deploy(DATABASE_OPTIONS=options)
    assert shop.ask("two-effects", [("run-1", {}), (None, {})], via=via)[0] == status
    assert set(count_rows(shop).values()) == {0}
    shop.advance(OVERDUE + 1)
    assert shop.sweep() == 0
    assert peer.published == []
    # The id is free: what was rolled back never was.
    shop.start("two-effects", run_id="run-1")
    check_ran_once(shop, "run-1")


def test_a_savepoint_that_rolls_back_takes_its_run_along(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 9. The run that was started before the savepoint stays."""
    shop = deploy()
    runs: list[tuple[str | None, dict[str, Any]]] = [("before", {}), ("inside", {})]
    shop.start_all("two-effects", runs, via="start-half-in-a-savepoint")
    check_ran_once(shop, "before")
    assert shop.status("inside") is None
    assert shop.database.rows("SELECT run_id FROM django_hookflow_head") == [("before",)]
    shop.advance(OVERDUE + 1)
    assert shop.sweep() == 0
    assert len(peer.published) == 1


def test_atomic_requests_that_succeed(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 9. The run begins after the request's transaction, and its own turn is not one transaction."""
    shop = deploy(DATABASE_OPTIONS={"ATOMIC_REQUESTS": True})
    run_id = shop.start("ten-steps")
    shop.wait_for_completion(1)
    assert shop.ledger(run_id) == [f"step-{number}" for number in range(10)]
    query = "SELECT count(DISTINCT xmin::text) FROM django_hookflow_event"
    assert shop.database.value(query) == 13
    assert len(peer.published) == 1


@pytest.mark.parametrize("outage", ["refuse", "hang", 500, 429, 401])
def test_qstash_is_down(deploy: Deploy, peer: QStashPeer, outage: Outage) -> None:
    """Scenario 8. trigger() returns; a relay that finds QStash still down tries again; when it is back the run goes through."""
    shop = deploy()
    peer.go_down(outage)
    start_in_time(shop, "run-1")
    assert shop.status("run-1") == "pending"
    shop.advance(OVERDUE + 1)
    done = shop.manage("hookflow_relay", "--once")
    assert (done.returncode, "will be retried" in done.stderr) == (1, True)
    assert shop.events("run-1") == ["run.triggered"]
    assert (peer.published, peer.refused > 0) == ([], outage != "refuse")

    peer.come_back()
    shop.advance(3 * OVERDUE)
    assert shop.sweep() == 1
    check_ran_once(shop, "run-1")
    assert shop.sweep() == 0
    assert len(peer.published) == 1


def test_qstash_is_down_for_long_and_a_relay_waits_for_it(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 8. Nobody does anything: the relay has kept trying and sends as soon as it can."""
    shop = deploy(DJANGO_HOOKFLOW_OVERDUE_SECONDS=1)
    peer.go_down(500)
    shop.start_relay()
    run_ids = shop.start_all("two-effects", [(None, {})] * 5)
    shop.advance(OVERDUE)
    refused = peer.refused
    wait_until(lambda: peer.refused > refused + 5, "the relay has tried")
    assert shop.count_completed() == 0
    peer.come_back()
    shop.wait_for_completion(5)
    assert [shop.ledger(run_id) for run_id in run_ids] == [["atomic", "plain"]] * 5


def test_the_publisher_dies_between_commit_and_publish(deploy: Deploy, peer: QStashPeer, outside: Outside) -> None:
    """Scenario 8. The run is there, its message was never sent, and the sweeper sends it once it is overdue."""
    shop = deploy()
    web = shop.webs[0]
    outside.close_gate("committed")
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(shop.ask, "two-effects", [("run-1", {})], via="start-and-stop-before-publishing", web=web)
        outside.wait_for_arrival("committed")
        shop.kill(web)
        assert request.result() == (0, {})
    assert shop.status("run-1") == "pending"
    assert peer.published == []
    shop.start_web()
    assert shop.sweep() == 0
    shop.advance(OVERDUE + 1)
    assert shop.sweep() == 1
    check_ran_once(shop, "run-1")


def test_qstash_loses_a_message(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 8. Overdue, it is published again, under another deduplication id, or QStash would drop it as a duplicate."""
    shop = deploy()
    peer.losing = 2
    shop.start("two-effects", run_id="run-1")
    for _ in range(2):
        assert shop.sweep() == 0
        shop.advance(OVERDUE * (len(peer.published) + 1))
        assert shop.sweep() == 1
    check_ran_once(shop, "run-1")
    assert shop.sweep() == 0
    assert len({message.body for message in peer.published}) == 1
    assert len({message.deduplication_id for message in peer.published}) == 3


def test_qstash_loses_a_wake_up(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 8. The message in the middle of a run, after which only the outbox knows that it sleeps."""
    peer.delivers = False
    shop = deploy()
    run_id = shop.start("shop.workflows.process_order", {"order_id": "1"})
    peer.courier.send(peer.published[0], shop.webs[0].port)
    assert len(peer.published) == 2  # the wake-up, which nobody will deliver
    peer.delivers = True
    shop.advance(OVERDUE + 2)
    assert shop.sweep() == 1
    shop.wait_for_completion(1)
    assert shop.ledger(run_id) == ["ledger"]


def start_from_twenty_threads(shop: Deployment, data: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    with ThreadPoolExecutor(20) as pool:
        requests = [
            pool.submit(shop.ask, "two-effects", [("order-1", each)], web=shop.webs[number % 2])
            for number, each in enumerate(data)
        ]
        return [request.result() for request in requests]


def test_one_run_id_from_twenty_threads_with_the_same_data(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 10. One run, one message, and everyone gets its id."""
    shop = deploy(webs=2)
    data = {"customer": "Ä", "amount": 1.5, "lines": [1, None, {"a": True}]}
    assert start_from_twenty_threads(shop, [data] * 20) == [(200, {"run_ids": ["order-1"]})] * 20
    check_ran_once(shop, "order-1")
    assert len(peer.published) == 1
    assert shop.database.value("SELECT count(*) FROM django_hookflow_head") == 1


def test_one_run_id_from_twenty_threads_with_different_data(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 10. One run; all the others are told that the id is taken for other data, and what to do."""
    shop = deploy(webs=2)
    answers = start_from_twenty_threads(shop, [{"number": number} for number in range(20)])
    assert sorted(status for status, _ in answers) == [200] + [409] * 19
    (error,) = {content["error"] for status, content in answers if status == 409}
    assert all(text in error for text in ("'order-1'", "different data", "use a new run_id"))
    winner = next(number for number, (status, _) in enumerate(answers) if status == 200)
    assert shop.database.rows("SELECT data FROM django_hookflow_workflowrun") == [({"number": winner},)]
    check_ran_once(shop, "order-1")
    assert len(peer.published) == 1
