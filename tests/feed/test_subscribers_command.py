"""``manage.py hookflow_subscribers`` as processes of their own: killed, doubled, stopped, cut off."""

from __future__ import annotations

import signal

import pytest
from django.db import connection

from django_hookflow.models import Subscriber
from tests.feed.processes import finish, run, running, wait_until_someone_waits_for_the_gate
from tests.feed.reading import add, new_run
from tests.feed.shop.workflows import GATE
from tests.log.calls import append, ask, session
from tests.testapp.models import LedgerEntry
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def accounts() -> list[int]:
    return [entry.amount for entry in LedgerEntry.objects.filter(account="accounts").order_by("pk")]


def test_once_hands_over_what_is_there_and_ends(process_environment: dict[str, str]) -> None:
    uid = new_run("order-1")
    add(uid, "a", "b")
    assert run(process_environment, "hookflow_subscribers", "--once") == (0, "Done: 2 events delivered\n", "")
    assert run(process_environment, "hookflow_subscribers", "--once") == (0, "Done: no events delivered\n", "")
    append(uid, None, ("run.cancelled", None, {"reason": "changed her mind"}))
    assert run(process_environment, "hookflow_subscribers", "--once") == (0, "Done: 1 event delivered\n", "")
    assert [(entry.account, entry.amount) for entry in LedgerEntry.objects.order_by("pk")] == [
        ("accounts", 2),
        ("accounts", 3),
        ("page-someone", 4),
    ]


def test_once_with_a_failure_exits_with_1(process_environment: dict[str, str]) -> None:
    run(process_environment, "hookflow_subscribers", "--once")
    uid = new_run("order-1")
    append(uid, None, ("run.cancelled", None, {"reason": "unspeakable"}))
    code, output, errors = run(process_environment, "hookflow_subscribers", "--once")
    assert (code, output) == (1, "")
    assert "subscriber page-someone failed on event 2 of run order-1 (run.cancelled), attempt 1" in errors
    assert "ValueError: cannot say that" in errors
    assert "CommandError: no events delivered; 1 subscriber failed and will be retried" in errors


def test_killed_between_the_handler_and_the_commit_it_is_handed_over_again_and_written_once(
    process_environment: dict[str, str],
) -> None:
    uid = new_run()
    add(uid, "a", "b")
    with session() as gatekeeper:
        gatekeeper.execute("SELECT pg_advisory_lock(%s)", [GATE])
        with running(process_environment, "hookflow_subscribers") as process:
            pid = wait_until_someone_waits_for_the_gate()  # the entry for "a" is written, and not committed
            process.kill()
            process.wait()
            ask("SELECT pg_terminate_backend(%s)", pid)  # a server process that waits does not notice by itself
            wait_until(lambda: not ask("SELECT FROM pg_stat_activity WHERE pid = %s", pid), "its session is gone")
    assert accounts() == []
    run(process_environment, "hookflow_subscribers", "--once")
    assert accounts() == [2, 3]


def test_of_two_processes_one_serves_a_subscriber(process_environment: dict[str, str]) -> None:
    uid = new_run()
    add(uid, "a")
    with session() as gatekeeper, running(process_environment, "hookflow_subscribers") as first:
        gatekeeper.execute("SELECT pg_advisory_lock(%s)", [GATE])
        wait_until_someone_waits_for_the_gate()
        add(uid, "b")
        append(uid, None, ("run.cancelled", None, {}))
        assert run(process_environment, "hookflow_subscribers", "--once")[0] == 0
        assert accounts() == []
        gatekeeper.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        wait_until(lambda: accounts() == [2, 3], "the first hands over both")
        assert first.poll() is None
    assert accounts() == [2, 3]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_hands_over_what_comes_until_a_signal_ends_it(
    process_environment: dict[str, str], ending: signal.Signals
) -> None:
    uid = new_run()
    with running(process_environment, "hookflow_subscribers") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Subscribers: accounts, page-someone\n"
        wait_until(lambda: Subscriber.objects.count() == 2, "both have their places")
        add(uid, "a")
        wait_until(lambda: accounts() == [2], "a is handed over")
        append(uid, None, ("run.failed", None, {"error": {"type": "E", "message": "no"}}))
        wait_until(lambda: LedgerEntry.objects.filter(account="page-someone").exists(), "the failure is handed over")
        process.send_signal(ending)
        assert finish(process) == (0, "Stopped: 2 events delivered, no failed attempts\n", "")


def test_a_signal_in_mid_event_lets_it_finish(process_environment: dict[str, str]) -> None:
    uid = new_run()
    add(uid, "a", "b")
    with session() as gatekeeper, running(process_environment, "hookflow_subscribers") as process:
        gatekeeper.execute("SELECT pg_advisory_lock(%s)", [GATE])
        wait_until_someone_waits_for_the_gate()
        process.send_signal(signal.SIGTERM)
        gatekeeper.execute("SELECT pg_advisory_unlock(%s)", [GATE])
        code, output, errors = finish(process)
    assert (code, errors) == (0, "")
    assert output.endswith("Stopped: 1 event delivered, no failed attempts\n")
    assert accounts() == [2]


def test_the_loop_survives_the_loss_of_its_connection(process_environment: dict[str, str]) -> None:
    uid = new_run()
    add(uid, "a")
    with running(process_environment, "hookflow_subscribers") as process:
        wait_until(lambda: accounts() == [2], "a is handed over")
        with connection.cursor() as c:
            c.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        add(uid, "b")
        wait_until(lambda: accounts() == [2, 3], "b is handed over")
        process.send_signal(signal.SIGTERM)
        code, _, errors = finish(process)
    assert code == 0
    assert "the database is unavailable, next attempt in" in errors
