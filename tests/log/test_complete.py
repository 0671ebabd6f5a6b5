"""A step's completion is appended by a way of its own, which keeps what the general one keeps: each test runs on both."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import Error, IntegrityError, transaction

from django_hookflow.evidence.verifying import verify
from tests.log.calls import append, as_json, ask, head_of, log_of, sleep, start, step, types_of

pytestmark = pytest.mark.django_db

#: ``complete(run_uid, expected_seq, step_id, payload, facts)``, the last two as JSON text: the new length of the log.
Complete = Callable[..., int]
FACTS, PAYLOAD = '{"kind": "run", "attempt": 1, "took": 0.5}', '{"result": "雪"}'


def by_the_general_way(
    run_uid: uuid.UUID, seq: int | None, step_id: str | None, payload: str = PAYLOAD, facts: str = FACTS
) -> int:
    statement = (
        "SELECT seq FROM hookflow_append(%s, %s, ARRAY['step.completed'], ARRAY[%s]::text[], ARRAY[%s]::json[], "
        "ARRAY[%s]::json[], NULL)"
    )
    return int(ask(statement, run_uid, seq, step_id, facts, payload)[0]["seq"])


def by_the_shortest_way(
    run_uid: uuid.UUID, seq: int | None, step_id: str | None, payload: str = PAYLOAD, facts: str = FACTS
) -> int:
    statement = "SELECT hookflow_complete(%s, %s, %s, %s::json, %s::json) AS seq"
    return int(ask(statement, run_uid, seq, step_id, facts, payload)[0]["seq"])


@pytest.fixture(params=[by_the_general_way, by_the_shortest_way])
def complete(request: pytest.FixtureRequest) -> Any:
    return request.param


def refusal_of(complete: Complete, *arguments: Any) -> Any:
    with pytest.raises(Error) as caught, transaction.atomic():
        complete(*arguments)
    return caught.value.__cause__.diag  # type: ignore[union-attr]


def test_the_event_is_what_was_given_and_the_chain_holds(complete: Complete) -> None:
    run = start("order-1")
    assert complete(run["run_uid"], 1, "größe") == 2
    assert append(run["run_uid"], 2, step("b")) == 3
    assert complete(run["run_uid"], 3, "c") == 4
    event = log_of(run["run_uid"])[1]
    assert (event["seq"], event["type"], event["step_id"], event["actor"]) == (2, "step.completed", "größe", None)
    assert (event["facts_text"], event["payload_text"]) == (FACTS, PAYLOAD)
    assert event["position"] > log_of(run["run_uid"])[0]["position"]
    assert head_of(run["run_uid"])["last_seq"] == 4
    assert [problem for part in verify() for problem in part.problems] == []


def test_a_wrong_expected_seq_is_refused_and_nothing_is_drawn_or_written(complete: Complete) -> None:
    uid = start("order-1")["run_uid"]
    append(uid, 1, step("a"), step("b"))
    before = ask("SELECT last_value FROM django_hookflow_event_position_seq"), head_of(uid)
    for wrong in (1, 2, 4):
        refused = refusal_of(complete, uid, wrong, "c")
        assert (refused.sqlstate, refused.constraint_name) == ("23505", "django_hookflow_event_pk")
        assert refused.message_primary == f"hookflow: run order-1 is at seq 3, expected {wrong}"
    assert (ask("SELECT last_value FROM django_hookflow_event_position_seq"), head_of(uid)) == before
    assert len(log_of(uid)) == 3


def test_an_outcome_is_taken_also_after_an_operators_event(complete: Complete) -> None:
    uid = start()["run_uid"]
    append(uid, None, ("run.paused", None, {"reason": ""}), actor="ada")
    assert complete(uid, 1, "a") == 3
    assert types_of(uid) == ["run.triggered", "run.paused", "step.completed"]


@pytest.mark.parametrize("state", ["unknown", "archived"])
def test_an_unknown_run_and_an_archived_one_are_distinguished(complete: Complete, state: str) -> None:
    uid = start("order-1")["run_uid"]
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now() WHERE run_uid = %s", uid)
    target = uid if state == "archived" else uuid.uuid4()
    refused = refusal_of(complete, target, 1, "a")
    assert refused.constraint_name == "django_hookflow_event_of_a_living_run"
    assert refused.message_primary.endswith(f" is {state}")


@pytest.mark.parametrize(
    ("step_id", "payload", "facts", "rule"),
    [
        (None, PAYLOAD, FACTS, "of_a_step"),
        ("", PAYLOAD, FACTS, "of_a_step"),
        ("x" * 256, PAYLOAD, FACTS, "names_are_small"),
        ("a", PAYLOAD, as_json({"scope": "x" * 9_000}), "facts_are_small"),
        ("a", PAYLOAD, '{"took": -1}', "facts_are_readable"),
        ("a", PAYLOAD, "[]", "facts_are_readable"),
    ],
)
def test_the_rules_of_the_table_hold(
    complete: Complete, step_id: str | None, payload: str, facts: str, rule: str
) -> None:
    uid = start()["run_uid"]
    assert refusal_of(complete, uid, 1, step_id, payload, facts).constraint_name == f"django_hookflow_event_{rule}"
    assert types_of(uid) == ["run.triggered"]


def test_a_completion_ends_the_waits_of_its_step_alone(complete: Complete) -> None:
    uid = start()["run_uid"]
    append(uid, 1, sleep("a", 60), sleep("b", 60))
    complete(uid, 3, "a")
    assert ask("SELECT step_id FROM django_hookflow_wait WHERE run_uid = %s", uid) == [{"step_id": "b"}]


def test_it_is_projected(complete: Complete) -> None:
    uid = start()["run_uid"]
    complete(uid, 1, "a")
    (row,) = ask("SELECT step_id, result::text FROM django_hookflow_stepexecution WHERE workflow_run_id = %s", uid)
    assert row == {"step_id": "a", "result": '"雪"'}


def test_without_a_seq_it_is_refused_like_any_other_event_that_is_not(complete: Complete) -> None:
    """Whoever is not bound to a turn may append; the fence stays where it was."""
    uid = start()["run_uid"]
    assert complete(uid, None, "a") == 2
    assert head_of(uid)["fence_seq"] == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        complete(uid, 5, "b")
