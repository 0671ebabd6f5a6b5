"""Scenario 7: the app's clock is five minutes off. Runs sleep and wake by the database's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.database import Database
from tests.environments.conftest import MakeFleet

#: Shorter than the five minutes: by a clock that is fast it is over before it has begun.
NIGHT = 200
FIVE_MINUTES = 300
SOURCE = Path(__file__).with_name("clock_off_by.c")

ClockOffBy = Callable[[int], dict[str, str]]
both_ways = pytest.mark.parametrize("seconds_off", [FIVE_MINUTES, -FIVE_MINUTES], ids=["fast", "slow"])


@pytest.fixture(scope="module")
def clock_off_by(tmp_path_factory: pytest.TempPathFactory) -> ClockOffBy:
    """The environment of a process whose clock is so many seconds off."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a process's clock is set off by a library that is compiled for Linux: no C compiler, or not Linux")
    library = tmp_path_factory.mktemp("clock") / "clock_off_by.so"
    subprocess.run([compiler, "-shared", "-fPIC", SOURCE, "-o", library, "-ldl"], check=True, timeout=60)
    return lambda seconds: {"LD_PRELOAD": str(library), "CLOCK_OFF_BY": str(seconds)}


@both_ways
def test_a_sleep_on_a_machine_whose_clock_is_off(
    database: Database, make_fleet: MakeFleet, clock_off_by: ClockOffBy, seconds_off: int
) -> None:
    """Web process and relay; QStash, whose part the test plays, and PostgreSQL have the right time."""
    fleet = make_fleet(database, DJANGO_HOOKFLOW_CLOCK_SKEW_SECONDS=FIVE_MINUTES + 60)
    web = fleet.start_wsgi(environment=clock_off_by(seconds_off))
    assert abs(fleet.tell(web)["time"] - time.time() - seconds_off) < 30
    fleet.start("sleeping", "run-1", seconds=NIGHT)
    assert fleet.deliver(web, "sleeping", "run-1").short == (200, "suspended")
    asleep = fleet.events("run-1")
    wake_up = fleet.announced_seq("run-1")
    relay = fleet.start_relay("--transport", "inline", environment=clock_off_by(seconds_off))

    def check_sleeps_on() -> None:
        early = fleet.deliver(web, "sleeping", "run-1", wake_up)
        assert early.short == (503, "the turn is early, retry later")
        assert 0 < int(early.headers["retry-after"]) <= NIGHT
        assert fleet.deliver(web, "sleeping", "run-1").short == (200, "stale")
        assert fleet.events("run-1") == asleep

    check_sleeps_on()
    fleet.advance(NIGHT - 20)
    check_sleeps_on()
    assert relay.is_running()
    fleet.advance(NIGHT + 1)
    fleet.wait_for_status("completed", "run-1")
    assert fleet.ledger("run-1") == ["before", "after"]
    slept = database.value(
        "SELECT extract(epoch FROM max(recorded_at) FILTER (WHERE type = 'step.completed' AND step_id = 'night')"
        " - max(recorded_at) FILTER (WHERE type = 'step.suspended')) FROM django_hookflow_event"
    )
    assert NIGHT <= slept < NIGHT + 60
    fleet.check()


@both_ways
def test_deliveries_to_a_machine_whose_clock_is_off(
    database: Database, make_fleet: MakeFleet, clock_off_by: ClockOffBy, seconds_off: int
) -> None:
    """With the leeway for signatures as it is by default."""
    fleet = make_fleet(database)
    web = fleet.start_wsgi(environment=clock_off_by(seconds_off))
    fleet.start("waiting", "run-1", kind="run")
    assert fleet.deliver(web, "waiting", "run-1").short == (200, "completed")
