"""Scenario 24: a hundred thousand sleeping runs and nothing due. Idle stays idle."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from django_hookflow.delivery import outbox
from django_hookflow.delivery.relay import Relay
from django_hookflow.sql import load
from tests.delivery.conftest import Announce
from tests.delivery.test_relay import Statements, Turns, running
from tests.log.calls import ask
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SLEEPERS = 100_000

#: As hookflow_start and a sleep would leave them, but for the events, which no relay looks at.
FALL_ASLEEP = """
WITH sleeper AS (
  INSERT INTO django_hookflow_head (run_uid, run_id, workflow_id, last_seq, fence_seq, last_at, head_hash)
  SELECT gen_random_uuid(), 'sleeper-' || n, 'tests.sleeper', 3, 3, now(), sha256('')
  FROM generate_series(1, %s) AS n
  RETURNING run_uid, run_id
), announced AS (
  INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, announced_at, send_at)
  SELECT run_uid, 3, now() + interval '30 days', now(), now() + interval '30 days' FROM sleeper
), waiting AS (
  INSERT INTO django_hookflow_wait (id, run_uid, step_id, kind, due_at, since_seq)
  SELECT row_number() OVER (), run_uid, 'sleep', 'sleep', now() + interval '30 days', 3 FROM sleeper
)
INSERT INTO django_hookflow_workflowrun
  (id, run_id, workflow_id, status, data, error_type, error_message, label, created_at, updated_at)
SELECT run_uid, run_id, 'tests.sleeper', 'running', '{}', '', '', '', now(), now() FROM sleeper
"""


@pytest.fixture
def sleepers() -> None:
    with connection.cursor() as cursor:
        cursor.execute(FALL_ASLEEP, [SLEEPERS])
        cursor.execute(
            "VACUUM ANALYZE django_hookflow_outbox, django_hookflow_head, django_hookflow_wait, django_hookflow_workflowrun"
        )


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]


def test_two_relays_ask_one_question_a_second_each_and_it_reads_one_index_entry(sleepers: None) -> None:
    looks = [Statements(), Statements()]
    with running(Relay("inline", Turns()), looks[0]), running(Relay("inline", Turns()), looks[1]):
        wait_until(lambda: all(len(look.times) >= 12 for look in looks), "some looks of both")
    for look in looks:
        assert {sql.split(" FROM ")[0] for sql in look.texts[-3:]} == {"SELECT min(send_at), hookflow_now()"}
        assert look.last_gap() >= 0.95
    (row,) = ask(f"EXPLAIN (ANALYZE, FORMAT JSON) {load('outbox_next_due')}")
    explained = row["QUERY PLAN"]
    plan = nodes_of((json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"])
    (scan,) = [node for node in plan if "Scan" in node["Node Type"] and "Relation Name" in node]
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Only Scan", "django_hookflow_outbox_next")
    assert scan["Actual Rows"] == 1
    assert scan["Heap Fetches"] <= 1


def test_among_them_the_one_that_is_due_is_found_at_once(sleepers: None, announce: Announce) -> None:
    announce("awake")
    (message,) = outbox.take_due(10)
    assert message.run_id == "awake"
    assert Relay("inline", Turns()).run_once() == 0
