"""Scenario 10: one run_id, wanted by twenty threads in four processes at the same moment."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.environments.conftest import MakeFleet
from tests.environments.fleet import WORKSHOP, Fleet

PROCESSES, THREADS = 4, 5
TOTAL = PROCESSES * THREADS


def start_at_once(fleet: Fleet, outside: Outside, data: list[dict[str, Any]]) -> list[list[str]]:
    """What ``trigger`` came to in each thread, in the order of ``data``."""
    outside.close_gate("ready")
    shares = [data[number * THREADS : (number + 1) * THREADS] for number in range(PROCESSES)]

    def run(share: list[dict[str, Any]]) -> list[list[str]]:
        arguments = ["--at-gate", "ready", "ten-steps", json.dumps(share), *["order-1"] * THREADS]
        outcomes: list[list[str]] = json.loads(fleet.run(f"{WORKSHOP}.start", *arguments))
        return outcomes

    with ThreadPoolExecutor(PROCESSES) as pool:
        shares_of_outcomes = [pool.submit(run, share) for share in shares]
        outside.wait_for_arrival("ready", TOTAL)
        outside.open_gate("ready")
        return [outcome for share in shares_of_outcomes for outcome in share.result()]


def check_ran_once(fleet: Fleet) -> None:
    fleet.start_relay("--transport", "inline")
    fleet.wait_for_status("completed", "order-1")
    assert fleet.database.value("SELECT count(*) FROM django_hookflow_head") == 1
    assert fleet.events("order-1").count("run.triggered") == 1
    assert len(fleet.ledger("order-1")) == 9
    fleet.check()


def test_the_same_data(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    fleet = make_fleet(database)
    data = {"customer": "Ä", "amount": 1.5, "lines": [1, None, {"a": True}]}
    assert start_at_once(fleet, outside, [data] * TOTAL) == [["started", "order-1"]] * TOTAL
    check_ran_once(fleet)


def test_different_data(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    fleet = make_fleet(database)
    outcomes = start_at_once(fleet, outside, [{"number": number} for number in range(TOTAL)])
    started = [number for number, (outcome, _) in enumerate(outcomes) if outcome == "started"]
    texts = {text for outcome, text in outcomes if outcome == "conflict"}
    assert len(started) == 1
    assert len(outcomes) == TOTAL
    (text,) = texts
    assert all(part in text for part in ("'order-1'", "different data", "use a new run_id"))
    assert database.rows("SELECT data FROM django_hookflow_workflowrun") == [({"number": started[0]},)]
    check_ran_once(fleet)
