"""Scenario 17: what Django lets a project say about its connections. The webhook is a view of a real WSGI server."""

from __future__ import annotations

import importlib.util
from typing import Any

import django
import pytest

from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.environments.conftest import MakeFleet

RUNS = [f"run-{number}" for number in range(6)]
#: An event has a transaction to itself, or shares it with the event that makes sense only beside it: the wait after a
#: failure, and what has come due with the turn that finds it so.
TOGETHER = {
    ("step.failed flaky", "step.suspended flaky"),
    ("step.retried flaky", "turn.started"),
    ("step.completed rest", "turn.started"),
    ("turn.abandoned", "turn.started"),
}

needs_pool = pytest.mark.skipif(
    django.VERSION < (5, 1) or importlib.util.find_spec("psycopg_pool") is None,
    reason="Django's connection pool came with 5.1 and needs psycopg_pool",
)


@pytest.mark.parametrize(
    "entry",
    [
        {"CONN_MAX_AGE": 0},
        {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
        {"CONN_MAX_AGE": None, "ATOMIC_REQUESTS": True},
        {"CONN_MAX_AGE": None, "OPTIONS": {"server_side_binding": True, "prepare_threshold": 0}},
        pytest.param({"OPTIONS": {"pool": True}, "ATOMIC_REQUESTS": True}, marks=needs_pool),
        pytest.param({"OPTIONS": {"pool": {"min_size": 1, "max_size": 3, "timeout": 20}}}, marks=needs_pool),
    ],
    ids=[
        "closed-after-each-request",
        "kept",
        "kept-and-atomic-requests",
        "kept-and-all-prepared",
        "pool-and-atomic-requests",
        "small-pool",
    ],
)
def test_runs_of_ten_steps(database: Database, make_fleet: MakeFleet, entry: dict[str, Any]) -> None:
    """Each step is committed by itself, whatever a request is to its project, and before the next begins."""
    fleet = make_fleet(database, entry)
    web = fleet.start_wsgi()
    assert fleet.tell(web)["in_transaction"] is entry.get("ATOMIC_REQUESTS", False)
    fleet.start_relay("--concurrency", "4", to=web)
    fleet.start("ten-steps", *RUNS)
    fleet.wait_for_status("completed", *RUNS)
    for run_id in RUNS:
        assert len(fleet.ledger(run_id)) == 9
        transactions = database.rows(
            "SELECT array_agg(e.type || coalesce(' ' || e.step_id, '') ORDER BY seq) FROM django_hookflow_event e"
            " JOIN django_hookflow_head h USING (run_uid) WHERE h.run_id = %s GROUP BY e.xmin::text",
            run_id,
        )
        assert {tuple(events) for (events,) in transactions if len(events) > 1} <= TOGETHER
    fleet.check()
    assert "Traceback" not in fleet.log()


@needs_pool
def test_more_turns_than_the_pool_has_connections(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    """All of the pool's connections are in atomic steps; a delivery that gets none in time is refused, and not lost."""
    fleet = make_fleet(database, {"OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 0.5}}})
    web = fleet.start_wsgi()
    fleet.start("waiting", "one", "two", "three", kind="atomic")
    outside.close_gate("written")
    first = [fleet.begin_delivery(web, "waiting", run_id) for run_id in ("one", "two")]
    outside.wait_for_arrival("written", 2)
    refused = fleet.deliver(web, "waiting", "three")
    assert refused.short == (503, "the database could not be reached")
    assert int(refused.headers["retry-after"]) > 0
    assert fleet.events("three") == ["run.triggered"]
    outside.open_gate("written")
    assert [delivery.result().short for delivery in first] == [(200, "completed")] * 2
    assert fleet.deliver(web, "waiting", "three").short == (200, "completed")
    assert [fleet.ledger(run_id) for run_id in ("one", "two", "three")] == [["work", "after"]] * 3
    fleet.check()
