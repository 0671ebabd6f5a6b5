"""Statements of turns and steps that the server prepares once: when it does, and when what it prepared is gone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from django_hookflow.events import log
from django_hookflow.events.database import KEPT_AFTER
from django_hookflow.runtime.trigger import uuid7
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def new_connection() -> None:
    connection.close()


def start() -> Any:
    run_uid = uuid7()
    log.start(run_uid, str(run_uid), "tests.prepared", "{}", '{"data":{}}', actor=None, sending=log.LEFT_TO_RELAY)
    return run_uid


def append(run_uid: Any, seq: int) -> int:
    return log.append(run_uid, seq, [log.NewEvent("step.completed", f"step-{seq}", '{"kind": "run"}', "{}")]).seq


def prepared() -> list[str]:
    return [row["statement"] for row in ask("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time")]


def forget_prepared() -> None:
    """As it is when a pooler goes on with another session of the server: psycopg knows nothing of it."""
    connection.connection.pgconn.exec_(b"DEALLOCATE ALL")


def test_on_a_session_that_is_kept_the_hot_statements_are_prepared_and_no_others() -> None:
    run_uid = start()
    for seq in range(1, KEPT_AFTER - 1):
        append(run_uid, seq)
    assert prepared() == []
    append(run_uid, KEPT_AFTER - 1)
    for _ in range(10):
        ask("SELECT 1 AS one")
    assert ["hookflow_complete" in statement for statement in prepared()] == [True]


def test_by_the_setting_they_are_prepared_at_once(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PREPARED_STATEMENTS = True
    append(start(), 1)
    for _ in range(10):
        ask("SELECT 1 AS one")
    assert ["hookflow_start" in prepared()[0], "hookflow_complete" in prepared()[1], len(prepared())] == [True, True, 2]


@pytest.mark.parametrize("threshold", [None, 100])
def test_what_the_connection_says_of_preparing_holds(monkeypatch: pytest.MonkeyPatch, threshold: int | None) -> None:
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "prepare_threshold": threshold}
    )
    run_uid = start()
    for seq in range(1, KEPT_AFTER + 5):
        append(run_uid, seq)
    assert prepared() == []


def test_the_setting_can_forbid_what_the_connection_allows(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.DJANGO_HOOKFLOW_PREPARED_STATEMENTS = False
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], "prepare_threshold": 0}
    )
    append(start(), 1)
    assert [statement for statement in prepared() if "hookflow" in statement] == []


def test_what_was_prepared_may_be_lost_between_two_steps(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PREPARED_STATEMENTS = True
    run_uid = start()
    seq = append(run_uid, 1)
    forget_prepared()
    for _ in range(3):
        seq = append(run_uid, seq)
    assert seq == 5
    assert prepared() == []


def test_what_another_session_has_prepared_by_the_same_name_is_left_alone(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PREPARED_STATEMENTS = True
    connection.ensure_connection()
    connection.connection.pgconn.exec_(b"PREPARE _pg3_0 AS SELECT 1")
    assert append(start(), 1) == 2
    assert prepared() == ["PREPARE _pg3_0 AS SELECT 1"]


def test_lost_within_a_transaction_it_is_an_error_once(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PREPARED_STATEMENTS = True
    run_uid = start()
    append(run_uid, 1)
    forget_prepared()
    with pytest.raises(ProgrammingError, match="prepared statement"), transaction.atomic():
        append(run_uid, 2)
    with transaction.atomic():
        assert append(run_uid, 2) == 3
