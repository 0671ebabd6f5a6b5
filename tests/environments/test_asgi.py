"""Scenario 17: the webhook under an ASGI server, where Django runs its view, and so every step, in a thread."""

from __future__ import annotations

import json
import socket
from collections import Counter

from django_hookflow.delivery.signature import sign
from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.e2e.qstash_peer import CURRENT_KEY
from tests.environments.conftest import MakeFleet
from tests.environments.fleet import Fleet, Web

RUNS = [f"run-{number}" for number in range(8)]


def test_runs_of_ten_steps(database: Database, make_fleet: MakeFleet) -> None:
    """No step is taken for one called from a foreign thread, and no connection is left behind."""
    fleet = make_fleet(database)
    web = fleet.start_asgi()
    relay = fleet.start_relay(to=web)
    fleet.start("ten-steps", *RUNS)
    fleet.wait_for_status("completed", *RUNS)
    assert [len(fleet.ledger(run_id)) for run_id in RUNS] == [9] * len(RUNS)
    assert database.rows("SELECT * FROM django_hookflow_event WHERE payload::text LIKE '%%Misplaced%%'") == []
    relay.stop()
    fleet.wait_until_disconnected()
    fleet.check()
    assert "Traceback" not in fleet.log()


def test_deliveries_at_the_same_time(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    """Eight runs are in their first step at once, each delivered three times; one delivery of each executes."""
    fleet = make_fleet(database)
    web = fleet.start_asgi()
    fleet.start("waiting", *RUNS, kind="atomic")
    outside.close_gate("written")
    deliveries = [fleet.begin_delivery(web, "waiting", run_id) for run_id in RUNS * 3]
    outside.wait_for_arrival("written", len(RUNS))
    outside.open_gate("written")
    answers = Counter(delivery.result().short for delivery in deliveries)
    assert answers[200, "completed"] == len(RUNS)
    assert answers[200, "busy"] + answers[200, "finished"] == 2 * len(RUNS)
    assert [fleet.ledger(run_id) for run_id in RUNS] == [["work", "after"]] * len(RUNS)
    fleet.wait_until_disconnected()
    fleet.check()


def test_a_deliverer_that_hangs_up(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    """Django cancels the request's task then; the turn is in a thread of its own and goes on to its end."""
    fleet = make_fleet(database)
    web = fleet.start_asgi()
    fleet.start("waiting", "run-1", kind="atomic")
    outside.close_gate("written")
    deliverer = send_and_do_not_wait(web, "waiting", "run-1")
    outside.wait_for_arrival("written")
    deliverer.close()
    assert fleet.tell(web)["is_test_environment"] is False  # the server has gone on to other requests
    outside.open_gate("written")
    fleet.wait_for_status("completed", "run-1")
    assert fleet.ledger("run-1") == ["work", "after"]
    assert "turn.abandoned" not in fleet.events("run-1")
    fleet.wait_until_disconnected()
    check_is_alive(fleet, web)


def send_and_do_not_wait(web: Web, workflow: str, run_id: str) -> socket.socket:
    """A delivery, of which the answer is not read."""
    path = f"/hookflow/workflow/{workflow}/"
    body = json.dumps({"workflow_id": workflow, "run_id": run_id, "seq": 1}).encode()
    token = sign(body, f"http://127.0.0.1:{web.port}{path}", key=CURRENT_KEY)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nContent-Length: {len(body)}\r\n"
        f"Upstash-Signature: {token}\r\n\r\n"
    )
    deliverer = socket.create_connection(("127.0.0.1", web.port), timeout=30)
    deliverer.sendall(head.encode() + body)
    return deliverer


def check_is_alive(fleet: Fleet, web: Web) -> None:
    assert fleet.deliver(web, "waiting", "run-1").short == (200, "finished")
    fleet.check()


def test_async_workflows(database: Database, make_fleet: MakeFleet) -> None:
    """Their loop runs in the view's thread, with which their async steps share its connection; none is left behind."""
    fleet = make_fleet(database)
    web = fleet.start_asgi()
    relay = fleet.start_relay(to=web)
    fleet.start("many-at-once", *RUNS)
    fleet.wait_for_status("completed", *RUNS)
    assert [len(fleet.ledger(run_id)) for run_id in RUNS] == [6] * len(RUNS)
    relay.stop()
    fleet.wait_until_disconnected()
    fleet.check()
    assert "Traceback" not in fleet.log()
