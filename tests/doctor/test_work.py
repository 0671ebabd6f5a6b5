"""Runs, messages and subscribers that do not get on, made as the engine makes them; archives and checkpoints."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from django_hookflow.doctor.relay import MOST
from django_hookflow.feed import subscribers
from django_hookflow.feed.delivering import Delivery
from django_hookflow.feed.subscribers import on_event, registered_subscriptions
from django_hookflow.models import WorkflowRun
from django_hookflow.sql import load
from tests.admin.history import add, fail, start
from tests.doctor.diagnosis import diagnose
from tests.log.calls import ask, claim

WORKFLOW = "shop.process"

pytestmark = pytest.mark.django_db


def age_outbox(minutes: float, attempts: int = 1) -> None:
    ask(
        "UPDATE django_hookflow_outbox SET send_at = send_at - make_interval(secs => %s),"
        " announced_at = announced_at - make_interval(secs => %s), attempts = %s",
        *(minutes * 60, minutes * 60, attempts),
    )


@pytest.fixture
def subscription() -> Iterator[str]:
    """A subscriber that fails while ``broken`` says so."""

    @on_event("*", name="doctor-test", from_start=True)
    def handle(event: Any) -> None:
        raise ValueError("a secret of the customer")

    yield "doctor-test"
    del subscribers._subscriptions["doctor-test"]


def serve(name: str) -> None:
    Delivery([each for each in registered_subscriptions() if each.name == name]).run_once()


@pytest.mark.parametrize(
    ("transport", "minutes", "level"),
    [("http", 0.5, "ok"), ("http", 2, "warning"), ("http", 10, "error"), ("qstash", 4, "ok"), ("qstash", 10, "error")],
)
def test_messages_that_nobody_sends(settings: Any, transport: str, minutes: float, level: str) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = transport
    start("order-1")
    age_outbox(minutes, attempts=0)
    found = diagnose("relay")
    assert found.codes["relay.in_time" if level == "ok" else "relay.late"] == level
    if level != "ok":
        assert found.seen("relay.late").startswith("No relay is sending: 1 message overdue, the oldest by ")
        assert "(run order-1)" in found.seen("relay.late")


def test_a_turn_under_way_is_not_late() -> None:
    start("order-1")
    age_outbox(10)
    assert claim("order-1", 1, workflow_id=WORKFLOW, lease=600)[0]["answer"] == "run"
    ask("UPDATE django_hookflow_outbox SET send_at = send_at - interval '1 hour'")
    assert diagnose("relay", "runs").codes == {"database.answers": "ok", "relay.in_time": "ok", "runs.fine": "ok"}


@pytest.mark.parametrize(("attempts", "minutes"), [(5, 1), (2, 11)])
def test_messages_that_are_sent_in_vain(attempts: int, minutes: float) -> None:
    start("order-1")
    age_outbox(minutes, attempts)
    ask("UPDATE django_hookflow_outbox SET send_at = hookflow_now() + interval '1 minute'")
    found = diagnose("relay")
    assert found.codes["relay.in_vain"] == "warning"
    assert f"Example: run order-1, sent {attempts} times" in found.seen("relay.in_vain")


def test_a_sleeper_is_no_concern() -> None:
    start("order-1")
    age_outbox(-60)
    assert diagnose("relay", "runs").codes == {"database.answers": "ok", "relay.in_time": "ok", "runs.fine": "ok"}


def test_runs_that_wait_for_a_person() -> None:
    for number in range(4):
        add(start(f"doubted-{number}"), "step.suspended", "charge", kind="doubt", step_kind="run", attempt=1)
    add(start("changed"), "run.diverged", recorded="charge", error={"type": "Diverged", "message": "no such step"})
    add(start("held"), "run.paused")
    fail(start("failed-1"))
    fail(start("failed-2"))
    found = diagnose("runs")
    levels = {"runs.in_doubt": "warning", "runs.diverged": "warning", "runs.paused": "info", "runs.failed": "info"}
    assert found.codes == {"database.answers": "ok", **levels}
    assert found.seen("runs.in_doubt") == (
        "4 runs in doubt: it is unknown whether a step had its effect (doubted-3, doubted-2, doubted-1)."
    )
    assert found.seen("runs.failed") == "2 runs failed and have not been replayed."
    assert found.exit_code == 0


def test_a_run_of_which_no_turn_is_announced() -> None:
    start("order-1")
    start("order-2")
    ask(
        "DELETE FROM django_hookflow_outbox WHERE run_uid = (SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-1')"
    )
    found = diagnose("runs")
    assert (found.exit_code, found.codes["runs.unannounced"]) == (1, "error")
    assert found.seen("runs.unannounced") == "1 run active without a message for the next turn (order-1)."

    run = WorkflowRun.objects.get(run_id="order-1")  # the way out is one
    run.pause()
    run.resume()
    assert diagnose("runs").codes["runs.fine"] == "ok"


def test_a_worker_that_was_lost() -> None:
    start("order-1")
    claim("order-1", 1, workflow_id=WORKFLOW)
    assert "runs.lost" not in diagnose("runs").codes
    ask("UPDATE django_hookflow_lease SET expires_at = hookflow_now() - interval '10 minutes'")
    found = diagnose("runs")
    assert found.codes["runs.lost"] == "warning"
    assert "Example: order-1, for 10 min" in found.seen("runs.lost")


@pytest.mark.django_db(transaction=True)
def test_subscribers_that_do_not_get_on(subscription: str) -> None:
    start("order-1")
    assert diagnose("subscribers").codes["subscribers.not_served"] == "warning"
    serve(subscription)
    found = diagnose("subscribers")
    assert found.codes["subscribers.failing"] == "warning"
    assert "doctor-test has failed 1 times in a row" in found.seen("subscribers.failing")
    assert "secret of the customer" not in found.text

    ask("UPDATE django_hookflow_subscriber SET retry_at = NULL, failures = 0")
    assert "subscribers.behind" not in diagnose("subscribers").codes
    move_clock("clock_timestamp() + interval '1 hour'")
    try:
        seen = diagnose("subscribers").seen("subscribers.behind")
        assert seen.startswith("doctor-test has not advanced for 1 h")
    finally:
        move_clock("clock_timestamp()")

    ask("UPDATE django_hookflow_subscriber SET name = 'gone'")
    assert diagnose("subscribers").codes["subscribers.unknown"] == "info"


def test_a_doctor_that_fails_goes_on_with_the_next_area(caplog: pytest.LogCaptureFixture, subscription: str) -> None:
    ask(
        "INSERT INTO django_hookflow_subscriber (name, checkpoint, failures, last_error, updated_at)"
        " VALUES (%s, '[]', 0, '', now())",
        subscription,
    )
    found = diagnose("subscribers", "checkpoints")
    assert found.codes == {"database.answers": "ok", "subscribers.failed": "error", "checkpoints.none": "info"}
    assert "hookflow_doctor failed in the area subscribers" in caplog.text


def move_clock(to: str) -> None:
    ask(
        "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
        f"AS $$ SELECT {to} $$"
    )


def test_an_archive_that_cannot_be_written(settings: Any, tmp_path: Path) -> None:
    settings.DJANGO_HOOKFLOW_ARCHIVE_DIR = str(tmp_path / "missing")
    found = diagnose("archive")
    assert (found.exit_code, found.codes) == (1, {"archive.not_writable": "error"})
    assert found.seen("archive.not_writable") == (
        f"No archive could be written to {tmp_path / 'missing'}: it is not a directory."
    )


def test_checkpoints(settings: Any) -> None:
    assert diagnose("checkpoints").codes["checkpoints.none"] == "info"
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = "of-a-test-" * 4
    assert diagnose("checkpoints").codes["checkpoints.none"] == "warning"
    add_checkpoint("10 days")
    assert diagnose("checkpoints").seen("checkpoints.old") == "The last checkpoint was made 10 d ago."
    add_checkpoint("3 hours")
    assert diagnose("checkpoints").seen("checkpoints.made") == "The last checkpoint was made 3 h ago."


def add_checkpoint(ago: str) -> None:
    ask(
        "INSERT INTO django_hookflow_checkpoint (made_at, runs, events, root, token_digest)"
        " VALUES (hookflow_now() - %s::interval, 0, 0, sha256(''), sha256(''))",
        ago,
    )


def test_the_id_of_a_run_moves_no_cursor_and_breaks_no_output() -> None:
    stuck = start("größe-1\x1b[2J\x9b2J")
    add(stuck, "turn.started", worker="w")
    add(stuck, "step.suspended", "charge", kind="doubt", step_kind="run", attempt=1)
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")

    for arguments in ([], ["--json"]):
        call_command("hookflow_doctor", "--only", "runs", *arguments, stdout=out)
    out.flush()

    text = raw.getvalue().decode()
    assert "gr??e-1 [2J 2J" in " ".join(text.split())
    assert [character for character in text if not character.isprintable() and character != "\n"] == []


def test_every_query_goes_by_an_index() -> None:
    """With many rows of which few are looked for. Leases are as few as workers, and not more than so many are read."""
    make_many()
    statements: dict[str, dict[str, Any]] = {
        "doctor_announced": {"most": MOST},
        "doctor_waiting": {"statuses": ["in_doubt", "diverged", "paused"], "most": MOST, "named": 3},
        "doctor_dead_letters": {"most": MOST},
        "doctor_unannounced": {"statuses": ["pending", "running"], "most": MOST},
        "doctor_lost": {"most": MOST, "after": 60},
        "doctor_unjoined": {"most": MOST, "after": 60},
    }
    for name, parameters in statements.items():
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {load(name)}", parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        scanned = [line for line in plan.splitlines() if "Seq Scan" in line and "lease" not in line]
        assert scanned == [], f"{name}:\n{plan}"
        assert "run_newest" not in plan, f"{name}:\n{plan}"  # through all runs, should the planner be unlucky


def make_many() -> None:
    uid = "lpad(to_hex(n), 32, '0')::uuid"
    for statement in (
        f"INSERT INTO django_hookflow_head SELECT {uid}, 'r' || n, 'w', 1, 1, now(), '' FROM generate_series(1, 30000) n",
        f"INSERT INTO django_hookflow_workflowrun SELECT {uid}, 'r' || n, 'w', CASE n % 3 WHEN 0 THEN 'completed'"
        " WHEN 1 THEN 'running' ELSE 'in_doubt' END, '{}', NULL, '', '', '', now(), now() FROM generate_series(1, 30000) n",
        "INSERT INTO django_hookflow_wait SELECT n, lpad(to_hex(n), 32, '0')::uuid, 'charge', 'sleep', now(), NULL, NULL, 1"
        " FROM generate_series(1, 30000) n",
        "INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, announced_at, send_at)"
        f" SELECT {uid}, 1, now(), now(), now() FROM generate_series(1, 30000) n",
        f"INSERT INTO django_hookflow_deadletterentry SELECT n, {uid}, 1, 'w', 'r' || n, '', '{{}}', '', '', '', '', 1,"
        " n % 2 = 0, NULL, now() FROM generate_series(1, 30000) n",
        "INSERT INTO django_hookflow_event (position, run_uid, seq, type, facts, recorded_at, version, salt, hash)"
        f" SELECT n, {uid}, 1, 'run.triggered', '{{}}', now(), 1, sha256(''), sha256('') FROM generate_series(1, 30000) n",
        "ANALYZE django_hookflow_head, django_hookflow_workflowrun, django_hookflow_wait, django_hookflow_outbox,"
        " django_hookflow_deadletterentry, django_hookflow_event",
        "SELECT brin_summarize_new_values('django_hookflow_event_all_position_idx')",
    ):
        ask(statement)
