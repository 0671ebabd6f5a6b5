"""Scenario 23: SIGTERM to a web process and to a relay in mid-turn. The package installs no handlers in a host's process."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from django_hookflow.demo.processes import Child
from tests.e2e.database import Database
from tests.e2e.outside import Outside
from tests.environments.conftest import MakeFleet
from tests.environments.fleet import WORKSHOP, Fleet, Web
from tests.waiting import wait_until

STEPS = [f"step-{number}" for number in range(10)]
BEGUN = ["run.triggered", "turn.started"]


@pytest.mark.parametrize(("server", "exit_code"), [("start_wsgi", 0), ("start_asgi", -signal.SIGTERM)])
def test_a_web_server_is_terminated_in_mid_turn(
    database: Database, make_fleet: MakeFleet, outside: Outside, server: str, exit_code: int
) -> None:
    """The server knows nothing of turns: it waits for the request, which ends within the budget of its turn.

    And ends as is its manner: gunicorn with 0, uvicorn by the signal it was sent.
    """
    fleet = make_fleet(database, DJANGO_HOOKFLOW_TURN_BUDGET=1)
    web = getattr(fleet, server)()
    fleet.start("toiling", "run-1")
    outside.close_gate("written")
    delivery = fleet.begin_delivery(web, "toiling", "run-1")
    outside.wait_for_arrival("written")
    terminate(web)
    outside.open_gate("written")
    assert delivery.result().short == (200, "suspended")
    assert web.child.process.wait(timeout=20) == exit_code
    steps = [event.removeprefix("step.completed ") for event in fleet.events("run-1")[2:]]
    assert 1 <= len(steps) <= 6  # a second has room for four of a quarter each
    assert steps == STEPS[: len(steps)]
    check_is_finished_elsewhere(fleet)


def test_a_host_that_passes_the_signal_on(database: Database, make_fleet: MakeFleet, outside: Outside) -> None:
    """Its own handler calls ``request_stop``: the turn ends with the step it is in, though its budget is not spent."""
    fleet = make_fleet(database)
    web = fleet.start_wsgi(environment={"WORKSHOP_PASSES_SIGNAL_ON": "yes"})
    fleet.start("toiling", "run-1")
    outside.close_gate("written")
    delivery = fleet.begin_delivery(web, "toiling", "run-1")
    outside.wait_for_arrival("written")
    terminate(web)
    outside.open_gate("written")
    assert delivery.result().short == (200, "suspended")
    assert web.child.process.wait(timeout=20) == 0
    assert fleet.events("run-1") == [*BEGUN, "step.completed step-0"]
    check_is_finished_elsewhere(fleet)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether the relay has taken the signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_is_stopped_in_mid_turn(
    database: Database, make_fleet: MakeFleet, outside: Outside, number: signal.Signals
) -> None:
    """It finishes the step, announces the next turn and ends well; what has not begun it leaves alone."""
    fleet = make_fleet(database)
    relay = fleet.start_relay("--transport", "inline", "--concurrency", "1")
    outside.close_gate("written")
    fleet.start("toiling", "run-1")
    outside.wait_for_arrival("written")
    fleet.start("ten-steps", "run-2")
    relay.process.send_signal(number)
    wait_until(lambda: not catches(relay, number), "the relay has taken the signal")
    outside.open_gate("written")
    assert relay.process.wait(timeout=20) == 0
    assert fleet.events("run-1") == [*BEGUN, "step.completed step-0"]
    assert fleet.announced_seq("run-1") == 3
    assert database.value("SELECT count(*) FROM django_hookflow_lease") == 0
    assert fleet.events("run-2") == ["run.triggered"]
    assert "Relay stopped: 1 sent, 0 failed" in fleet.log()
    check_is_finished_elsewhere(fleet)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether the relay has taken the signal")
@pytest.mark.parametrize("workflow", ["toiling-in-a-group", "toiling-async"])
def test_a_relay_is_stopped_while_steps_work_at_once(
    database: Database, make_fleet: MakeFleet, outside: Outside, workflow: str
) -> None:
    """What has begun is finished and recorded, nothing else begins, and the next turn does the rest."""
    fleet = make_fleet(database)
    relay = fleet.start_relay("--transport", "inline", "--concurrency", "1")
    outside.close_gate("written")
    fleet.start(workflow, "run-1")
    outside.wait_for_arrival("written")
    relay.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not catches(relay, signal.SIGTERM), "the relay has taken the signal")
    outside.open_gate("written")
    assert relay.process.wait(timeout=20) == 0
    recorded = [event.removeprefix("step.completed ") for event in fleet.events("run-1")[len(BEGUN) :]]
    assert "step-0" in recorded
    assert len(recorded) < len(STEPS)
    assert sorted(recorded) == sorted(fleet.ledger("run-1"))
    assert database.value("SELECT count(*) FROM django_hookflow_lease") == 0
    check_is_finished_elsewhere(fleet, in_order=False)


def test_no_handlers_in_a_host_process(database: Database, make_fleet: MakeFleet) -> None:
    """Neither ``django.setup()`` nor a turn touches a signal, those with handlers of the host's least of all."""
    fleet = make_fleet(database)
    fleet.start("ten-steps", "run-1")
    assert json.loads(fleet.run(f"{WORKSHOP}.signals", "run-1")) == [[], [], "suspended"]


def check_is_finished_elsewhere(fleet: Fleet, *, in_order: bool = True) -> None:
    """By whoever is there next: no lease stands in the way, no step is run again, and nobody was abandoned."""
    fleet.start_relay("--transport", "inline")
    fleet.wait_for_status("completed", "run-1", timeout=15)
    ledger = fleet.ledger("run-1")
    assert (ledger if in_order else sorted(ledger)) == STEPS
    assert "turn.abandoned" not in fleet.events("run-1")
    fleet.check()


def terminate(web: Web) -> None:
    """SIGTERM, as an init system would send it. Returns when the process that runs the turn has been told."""
    web.child.process.terminate()
    told = web.told.with_suffix(".stopping")
    wait_until(lambda: told.exists() or not listens(web.port), "the server stops")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def catches(child: Child, number: signal.Signals) -> bool:
    """Whether the process has a handler for a signal."""
    status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)
