"""The quick start of contract.md, in a project that knows nothing else, with every message delivered three times at once."""

from __future__ import annotations

import json
from collections import Counter

from qstash import Receiver

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment
from tests.e2e.outside import Outside
from tests.e2e.qstash_peer import CURRENT_KEY, NEXT_KEY, QStashPeer

RUNS = 36
STORY = [
    "run.triggered",
    "turn.started",
    "step.completed validate",
    "step.suspended wait-for-payment",
    "step.completed wait-for-payment",
    "turn.started",
    "step.intended charge",
    "step.completed charge",
    "step.completed ledger",
    "step.completed fulfil",
    "run.completed",
]


def test_every_message_three_times_at_once_to_two_processes(deploy: Deploy, peer: QStashPeer, outside: Outside) -> None:
    shop = deploy(webs=2)
    peer.courier.copies = 3
    orders = [str(number) for number in range(RUNS)]
    run_ids = shop.start_all("shop.workflows.process_order", [(None, {"order_id": order}) for order in orders])
    shop.wait_for_completion(RUNS, timeout=60)
    shop.wait_until_disconnected()  # the last duplicates have been answered

    check_runs(shop, dict(zip(run_ids, orders, strict=True)))
    assert sorted(json.loads(charge.body)["order"] for charge in outside.charges) == sorted(orders)
    assert len({charge.idempotency_key for charge in outside.charges}) == RUNS
    check_deliveries(peer)
    assert "Traceback" not in shop.log()
    done = shop.manage("hookflow_rebuild", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"{RUNS} runs compared with the log: no differences\n",
        "",
    )


def check_runs(shop: Deployment, orders: dict[str, str]) -> None:
    for run_id, order in orders.items():
        assert shop.events(run_id) == STORY
        assert shop.ledger(run_id) == ["ledger"]
        query = "SELECT status, result FROM django_hookflow_workflowrun WHERE run_id = %s"
        result = {"status": "completed", "result": {"order": order, "paid": True}}
        assert shop.database.rows(query, run_id) == [("completed", result)]
    stored = "SELECT count(*) FROM django_hookflow_event WHERE payload::text LIKE %s"
    assert shop.database.value(stored, "%of-the-bank%") == 0  # the headers of a call are not recorded
    assert shop.database.value("SELECT count(*) FROM django_hookflow_outbox") == 0


def check_deliveries(peer: QStashPeer) -> None:
    """Two messages a run, each taken three times and never refused, and signed to the official SDK's satisfaction."""
    receiver = Receiver(CURRENT_KEY, NEXT_KEY)
    assert len(peer.published) == 2 * RUNS
    assert Counter(attempt.status for attempt in peer.courier.attempts) == {200: 6 * RUNS}
    answers = Counter(json.loads(attempt.answer)["status"] for attempt in peer.courier.attempts)
    assert answers["suspended"] == answers["completed"] == RUNS
    assert set(answers) <= {"suspended", "completed", "busy", "stale", "finished"}
    for attempt in peer.courier.attempts:
        message = attempt.message
        assert message.url == "https://shop.example.com/hookflow/workflow/shop.workflows.process_order/"
        receiver.verify(signature=attempt.token, body=message.body.decode(), url=message.url)
