"""Deliveries as an at-least-once deliverer makes them: repeated, at the same moment, in the wrong order, late."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.courier import Attempt
from tests.e2e.deployment import Deployment
from tests.e2e.outside import Outside
from tests.e2e.qstash_peer import QStashPeer

RACES = 1000


def answers(attempts: Iterable[Attempt]) -> Counter[tuple[int | None, str]]:
    return Counter((attempt.status, json.loads(attempt.answer)["status"]) for attempt in attempts)


def check_log_is_gapless(shop: Deployment) -> None:
    """Every run's events are numbered 1 to the length that its head says, each number once."""
    broken = shop.database.rows(
        "SELECT h.run_id FROM django_hookflow_head h LEFT JOIN django_hookflow_event e USING (run_uid)"
        " GROUP BY h.run_uid HAVING count(*) <> h.last_seq OR count(DISTINCT e.seq) <> h.last_seq"
        " OR min(e.seq) <> 1 OR max(e.seq) <> h.last_seq"
    )
    assert broken == []


def test_the_same_delivery_fifty_times_in_a_row(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 3. One effect, 2xx each, no further events."""
    peer.delivers = False
    shop = deploy()
    run_id = shop.start("two-effects")
    (message,) = peer.published
    attempts = [peer.courier.send(message, shop.webs[0].port) for _ in range(50)]
    assert answers(attempts) == {(200, "completed"): 1, (200, "finished"): 49}
    assert shop.ledger(run_id) == ["atomic", "plain"]
    assert shop.events(run_id) == [
        *("run.triggered", "turn.started", "step.completed plain", "step.completed atomic", "run.completed")
    ]


def test_the_same_delivery_fifty_times_while_the_run_sleeps(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 3, for a message whose turn is over while the run goes on."""
    peer.delivers = False
    shop = deploy()
    run_id = shop.start("shop.workflows.process_order", {"order_id": "1"})
    message = peer.published[0]
    attempts = [peer.courier.send(message, shop.webs[0].port) for _ in range(50)]
    assert answers(attempts) == {(200, "suspended"): 1, (200, "stale"): 49}
    assert len(peer.published) == 2
    assert shop.events(run_id)[-1] == "step.suspended wait-for-payment"


def test_the_other_process_answers_while_the_first_is_still_at_work(
    deploy: Deploy, peer: QStashPeer, outside: Outside
) -> None:
    """Scenario 4, arranged: the first is held in its step, the other has answered 200 before it goes on."""
    peer.delivers = False
    shop = deploy(webs=2)
    first, other = shop.webs
    run_id = shop.start("waiting", {"kind": "run"})
    (message,) = peer.published
    outside.close_gate("written")
    thread = Thread(target=peer.courier.send, args=(message, first.port))
    thread.start()
    outside.wait_for_arrival("written")
    assert answers([peer.courier.send(message, other.port)]) == {(200, "busy"): 1}
    assert thread.is_alive()
    outside.open_gate("written")
    thread.join()
    assert answers(peer.courier.attempts) == {(200, "busy"): 1, (200, "completed"): 1}
    assert shop.ledger(run_id) == ["after", "work"]


@pytest.mark.slow
def test_two_processes_get_the_same_delivery_at_once(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 4. A thousand times: one executes, the other answers 200 without using up a retry; no gap, no fork."""
    peer.delivers = False
    shop = deploy(webs=2)
    run_ids = shop.start_all("two-effects", [(None, {})] * RACES)
    assert len(peer.published) == RACES
    ports = [web.port for web in shop.webs]
    with ThreadPoolExecutor(max_workers=3) as pool:
        pairs = list(pool.map(lambda message: peer.courier.send_at_once(message, ports), peer.published))

    said = answers(attempt for pair in pairs for attempt in pair)
    assert said[200, "completed"] == RACES
    assert said.total() == 2 * RACES
    assert set(said) <= {(200, "completed"), (200, "busy"), (200, "finished")}
    assert said[200, "busy"] > RACES / 10  # they did meet: the other found the turn under way
    steps = shop.database.rows("SELECT run_id, array_agg(step ORDER BY step) FROM shop_ledgerentry GROUP BY run_id")
    assert dict(steps) == {run_id: ["atomic", "plain"] for run_id in run_ids}
    assert shop.database.value("SELECT count(*) FROM django_hookflow_event") == 5 * RACES
    check_log_is_gapless(shop)
    assert shop.count_completed() == RACES


def test_deliveries_in_reverse_order(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 5. With a message for each step: of all that were ever sent only the newest does anything."""
    peer.delivers = False
    shop = deploy(DJANGO_HOOKFLOW_STEPS_PER_TURN=1)
    port = shop.webs[0].port
    run_id = shop.start("ten-steps")
    while shop.status(run_id) != "completed":
        newest = peer.published[-1]
        assert answers([peer.courier.send(newest, port)]).total() == 1
        story = shop.events(run_id)
        for message in reversed(peer.published[: peer.published.index(newest) + 1]):
            ((said, _),) = answers([peer.courier.send(message, port)]).items()
            assert said in [(200, "stale"), (200, "finished")]
        assert shop.events(run_id) == story
    assert len(peer.published) == 11
    assert shop.ledger(run_id) == [f"step-{number}" for number in range(10)]
    assert shop.events(run_id).count("turn.started") == 11
    check_log_is_gapless(shop)


def test_a_delivery_from_long_ago(deploy: Deploy, peer: QStashPeer) -> None:
    """Scenario 5. A month later, to a run that has ended and to one that still sleeps."""
    peer.delivers = False
    shop = deploy()
    port = shop.webs[0].port
    ended = shop.start("two-effects")
    sleeping = shop.start("shop.workflows.process_order", {"order_id": "1"})
    old = list(peer.published)
    for message in old:
        peer.courier.send(message, port)
    stories = [shop.events(ended), shop.events(sleeping)]
    shop.advance(30 * 86_400)
    assert answers(peer.courier.send(message, port) for message in old) == {(200, "finished"): 1, (200, "stale"): 1}
    assert [shop.events(ended), shop.events(sleeping)] == stories
    assert answers([peer.courier.send(peer.published[-1], port)]) == {(200, "completed"): 1}
    assert shop.ledger(sleeping) == ["ledger"]
