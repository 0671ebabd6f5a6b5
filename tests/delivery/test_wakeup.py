"""Relays that wait are woken by what is committed, and keep the connections that turns are run on."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery import relay as relays
from django_hookflow.delivery import wakeup
from django_hookflow.delivery.relay import Relay
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.turn import beginning
from tests.delivery.test_relay import running
from tests.log.calls import ask
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: Longer than a test waits.
NEVER = 600.0

backends: list[int] = []


@workflow(workflow_id="tests.wakeup")
def noting(ctx: WorkflowContext) -> None:
    backends.append(ask("SELECT pg_backend_pid() AS pid")[0]["pid"])


@pytest.fixture(autouse=True)
def inline(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"
    backends.clear()
    wakeup._last.clear()


@pytest.fixture
def sleepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relays that do not look again by themselves within the time of a test."""
    monkeypatch.setattr(relays, "SHORTEST_PAUSE", NEVER)
    monkeypatch.setattr(relays, "LONGEST_PAUSE", NEVER)


def listeners() -> list[int]:
    found = ask(
        "SELECT pid FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' AND state = 'idle' AND datname = current_database()"
    )
    return [row["pid"] for row in found]


def is_completed(run_id: str) -> bool:
    return WorkflowRun.objects.get(run_id=run_id).status == "completed"


def listening() -> list[int]:
    return wait_until(listeners, "somebody listens")


def test_a_relay_that_waits_is_woken_by_a_commit(sleepy: None) -> None:
    with running(Relay("inline", receive)):
        listening()
        for _ in range(2):
            run_id = noting.trigger()
            wait_until(lambda: is_completed(run_id), "the run is completed", 30)  # noqa: B023


def test_it_is_woken_when_the_transaction_of_the_caller_commits_and_not_before(sleepy: None) -> None:
    with running(Relay("inline", receive)):
        listening()
        with transaction.atomic():
            run_id = noting.trigger()
            assert wakeup._last == {}
        assert list(wakeup._last) == ["default"]
        wait_until(lambda: is_completed(run_id), "the run is completed", 30)


def test_nobody_is_notified_of_what_is_rolled_back() -> None:
    with transaction.atomic():
        noting.trigger()
        transaction.set_rollback(True)
    assert wakeup._last == {}


def test_nobody_is_notified_of_what_is_due_later() -> None:
    @workflow(workflow_id="tests.wakeup.later")
    def sleeping(ctx: WorkflowContext) -> None:
        ctx.step.sleep("long", 3_600)

    run_id = sleeping.trigger()
    wakeup._last.clear()
    assert Relay("inline", receive).run_once() == 1
    assert WorkflowRun.objects.get(run_id=run_id).wake_at is not None
    assert wakeup._last == {}


def test_a_listener_that_lost_its_connection_comes_back(sleepy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "RETRY", 0.05)
    with running(Relay("inline", receive)):
        [first] = listening()
        ask("SELECT pg_terminate_backend(%s)", first)
        run_id = noting.trigger()  # while nobody listens, perhaps: who comes back looks first
        wait_until(lambda: first not in listening(), "another connection listens")
        wait_until(lambda: is_completed(run_id), "the run is completed", 30)


def test_where_a_pooler_mixes_sessions_nobody_listens_and_the_relay_polls(settings: Any) -> None:
    connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True
    try:
        with running(Relay("inline", receive)):
            run_id = noting.trigger()
            wait_until(lambda: is_completed(run_id), "the run is completed", 30)
            assert listeners() == []
    finally:
        connection.settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = False


def test_many_announcements_at_once_are_few_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup, "BETWEEN", NEVER)
    sent: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("NOTIFY"):
            sent.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        for _ in range(5):
            noting.trigger()
    assert sent == ["NOTIFY django_hookflow_outbox"]


def test_turns_share_a_connection_also_where_requests_do_not() -> None:
    assert connection.settings_dict["CONN_MAX_AGE"] == 0
    with running(Relay("inline", receive, concurrency=1)):
        for _ in range(3):
            run_id = noting.trigger()
            wait_until(lambda: is_completed(run_id), "the run is completed")  # noqa: B023
    assert len(backends) == 3
    assert len(set(backends)) == 1


@pytest.mark.parametrize("trusted_for", [0.0, NEVER])
def test_a_connection_that_broke_is_replaced(monkeypatch: pytest.MonkeyPatch, trusted_for: float) -> None:
    """Before a turn uses it, however short a time ago it was fine: an attempt would be spent on it."""
    monkeypatch.setattr(relays, "TRUSTED_FOR", trusted_for)
    with running(Relay("inline", receive, concurrency=1, beginning=beginning)):
        for _ in range(2):
            run_id = noting.trigger()
            wait_until(lambda: is_completed(run_id), f"the run is completed, on one of {backends}")  # noqa: B023
            ask("SELECT pg_terminate_backend(%s)", backends[-1])
            wait_until(lambda: not exists_backend(backends[-1]), "the session has ended")
    assert len(set(backends)) == 2
    assert WorkflowRun.objects.filter(status="completed").count() == 2
    assert WorkflowEvent.objects.filter(type="turn.started").count() == 2


def exists_backend(pid: int) -> bool:
    return bool(ask("SELECT FROM pg_stat_activity WHERE pid = %s", pid))


def looks(statements: list[str]) -> int:
    return sum("min(send_at)" in sql or "hookflow_take(" in sql for sql in statements)


def test_a_relay_that_is_woken_in_vain_leaves_it_to_the_others(sleepy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten relays that are all woken by each of a thousand triggers a second, most are too late each time."""
    monkeypatch.setattr(relays, "SHORTEST_RELUCTANCE", NEVER)
    monkeypatch.setattr(relays, "LONGEST_RELUCTANCE", NEVER)
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with running(Relay("inline", receive), note):
        listening()
        ask("NOTIFY django_hookflow_outbox")
        wait_until(lambda: looks(statements) >= 2, "it has looked once more than at its start")
        before = looks(statements)
        for _ in range(50):
            ask("NOTIFY django_hookflow_outbox")
        run_id = noting.trigger()
        assert looks(statements) <= before + 1
    assert not is_completed(run_id)  # nobody else was there


def test_a_relay_that_was_reluctant_is_quick_again_when_it_has_found_something(sleepy: None) -> None:
    def is_quick_after_another_run() -> bool:
        run_id = noting.trigger()
        wait_until(lambda: is_completed(run_id), "the run is completed", 30)
        return relay._reluctance <= relays.SHORTEST_RELUCTANCE

    with running(relay := Relay("inline", receive)):
        listening()
        relay._reluctance = relays.LONGEST_RELUCTANCE
        wait_until(is_quick_after_another_run, "it was the first some times", 30)
