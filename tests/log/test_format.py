"""What the table of events refuses to hold, whoever inserts: the format's promises as constraints."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from tests.log.calls import append, ask, head_of, log_of, start, step

pytestmark = pytest.mark.django_db


def constraint_against(statement: str, *parameters: Any) -> str:
    """The constraint by which the server refuses a statement."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        ask(statement, *parameters)
    return str(caught.value.__cause__.diag.constraint_name)  # type: ignore[union-attr]


def constraint_against_event(run_uid: Any, type_: str, step_id: str | None, facts: str = "{}", actor: str = "") -> str:
    statement = "SELECT hookflow_append(%s, NULL, ARRAY[%s], ARRAY[%s], ARRAY[%s]::json[], ARRAY[NULL]::json[], %s)"
    return constraint_against(statement, run_uid, type_, step_id, facts, actor)


def facts_of(size: int) -> str:
    """A JSON object of so many bytes."""
    return json.dumps({"worker": "w" * (size - len('{"worker": ""}'))})


def test_facts_are_small() -> None:
    uid = start()["run_uid"]
    ask(
        "SELECT hookflow_append(%s, 1, '{turn.started}', '{NULL}', ARRAY[%s]::json[], '{NULL}', NULL)",
        uid,
        facts_of(8192),
    )
    assert len(log_of(uid)[1]["facts_text"]) == 8192
    too_large = constraint_against_event(uid, "turn.started", None, facts_of(8193))
    assert too_large == "django_hookflow_event_facts_are_small"
    # Bytes and not characters count.
    wide = json.dumps({"worker": "é" * 4096}, ensure_ascii=False)
    assert constraint_against_event(uid, "turn.started", None, wide) == "django_hookflow_event_facts_are_small"


def test_there_are_always_facts() -> None:
    uid = start()["run_uid"]
    with pytest.raises(IntegrityError, match="null value in column"), transaction.atomic():
        ask("SELECT hookflow_append(%s, 1, '{note}', '{NULL}', '{NULL}', '{NULL}', NULL)", uid)


def test_names_are_as_long_as_the_projections_can_hold() -> None:
    uid = start()["run_uid"]
    append(uid, 1, step("é" * 255), actor="é" * 255)
    assert ask("SELECT step_id FROM django_hookflow_stepexecution") == [{"step_id": "é" * 255}]
    assert constraint_against_event(uid, "note", "e" * 256) == "django_hookflow_event_names_are_small"
    assert constraint_against_event(uid, "note", None, actor="e" * 256) == "django_hookflow_event_names_are_small"


@pytest.mark.parametrize("facts", ["{}", '{"kind": null}', '{"kind": ""}'])
def test_a_wait_has_a_kind(facts: str) -> None:
    """Also in a run that has ended, where none is projected: it may be replayed."""
    uid = start()["run_uid"]
    append(uid, 1, ("run.failed", None, None))
    refused = constraint_against_event(uid, "step.suspended", "a", facts)
    assert refused == "django_hookflow_event_waits_for_something"


def test_a_run_begins_with_its_trigger_and_with_nothing_else() -> None:
    uid = start()["run_uid"]
    assert constraint_against_event(uid, "run.triggered", None) == "django_hookflow_event_begins_with_trigger"
    insert = (
        "INSERT INTO django_hookflow_event (run_uid, seq, type, facts, recorded_at, hash) "
        "VALUES (gen_random_uuid(), %s, %s, '{}', now(), sha256(''))"
    )
    begins = "django_hookflow_event_begins_with_trigger"
    assert constraint_against(insert, 1, "turn.started") == begins
    assert constraint_against(insert, 2, "run.triggered") == begins
    assert constraint_against(insert, 0, "turn.started") == "django_hookflow_event_seq_from_one"


@pytest.mark.parametrize("facts", ["{}", '{"run_id": "another", "workflow": "another.flow"}'])
def test_head_first_event_and_row_agree_on_the_names_of_a_run(facts: str) -> None:
    """Both are made of one argument, whatever else the caller puts among the facts."""
    (row,) = ask("SELECT * FROM hookflow_start(gen_random_uuid(), 'order-1', 'shop.order', %s, '{}', NULL)", facts)
    uid, head = row["run_uid"], head_of(row["run_uid"])
    assert log_of(uid)[0]["facts"] == {"run_id": "order-1", "workflow": "shop.order"}
    assert (head["run_id"], head["workflow_id"]) == ("order-1", "shop.order")
    assert ask("SELECT run_id, workflow_id FROM django_hookflow_workflowrun WHERE id = %s", uid) == [
        {"run_id": "order-1", "workflow_id": "shop.order"}
    ]


@pytest.mark.parametrize("hash_", ["NULL", "''", "sha512('')"])
def test_every_event_has_a_hash(hash_: str) -> None:
    with pytest.raises(IntegrityError, match="hash"), transaction.atomic():
        ask(
            "INSERT INTO django_hookflow_event (run_uid, seq, type, facts, recorded_at, hash) "
            f"VALUES (gen_random_uuid(), 2, 'note', '{{}}', now(), {hash_})"
        )
