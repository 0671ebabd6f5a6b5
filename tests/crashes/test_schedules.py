"""Scenario 22: random schedules of deliveries, crashes and operators; how many, and with which seed, see the package."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from django_hookflow.clock import clock
from django_hookflow.testing import Hookflow
from tests.crashes.invariants import installed
from tests.crashes.machine import Schedules
from tests.crashes.offloads import Offloads
from tests.crashes.workers import Worker
from tests.delivery.servers import running_server

SCHEDULES = int(os.environ.get("HOOKFLOW_SCHEDULES", "1000"))
#: In so many parts, for as many processes.
PARTS = 2
#: Shrinking a schedule takes minutes: it is asked for, with the seed of a failure, by HOOKFLOW_SHRINK=1.
PHASES = [Phase.generate, *([Phase.shrink] if os.environ.get("HOOKFLOW_SHRINK") else [])]
#: Far more than they take: two a second, if that, would be slow already.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300 + SCHEDULES)]

NOW = "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ {} $$"


class SteadyKit(Hookflow):
    """Time in a row of a table: the kit's own way, to replace the function, costs every session its plans each time."""

    def __enter__(self) -> SteadyKit:
        super().__enter__()
        with connection.cursor() as c:
            c.execute("CREATE TABLE crashes_clock AS SELECT 0::float8 AS shift")
            c.execute(NOW.format("SELECT clock_timestamp() + make_interval(secs => (SELECT shift FROM crashes_clock))"))
        return self

    def __exit__(self, *raised: Any) -> None:
        with connection.cursor() as c:
            c.execute(NOW.format("SELECT clock_timestamp()"))
            c.execute("DROP TABLE crashes_clock")
        super().__exit__(*raised)

    def advance(self, seconds: float) -> None:
        clock.offset += seconds
        with connection.cursor() as c:
            c.execute("UPDATE crashes_clock SET shift = %s", [clock.offset])


@pytest.fixture
def kit(transactional_db: None) -> Iterator[Hookflow]:
    """Time and deliveries; sessions stay open, as with CONN_MAX_AGE=None."""
    entry = connection.settings_dict
    age = entry["CONN_MAX_AGE"]
    entry["CONN_MAX_AGE"] = None
    connection.close()
    try:
        with SteadyKit() as kit, installed():
            yield kit
    finally:
        entry["CONN_MAX_AGE"] = age
        connection.close()


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    workers = [Worker() for _ in range(3)]
    yield workers
    for worker in workers:
        worker.close()


@pytest.fixture
def offloads() -> Iterator[Offloads]:
    with running_server() as server:
        yield Offloads(server)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Failing runs are the point here: thousands of lines about them are not."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules(
    kit: Hookflow,
    workers: list[Worker],
    offloads: Offloads,
    quiet: None,
    part: int,
    record_property: Callable[[str, object], None],
) -> None:
    number = SCHEDULES // PARTS
    drawn = int(os.environ.get("HOOKFLOW_SEED") or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"HOOKFLOW_SEED={drawn}\n")  # shown with a failure; the summary says it in any case

    class Machine(Schedules):
        tally = Counter()

    Machine.hookflow, Machine.workers, Machine.offloads = kit, workers, offloads
    seeded = seed(drawn + part)(Machine)
    policy = settings(
        max_examples=number,
        stateful_step_count=12,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=PHASES,
    )
    try:
        run_state_machine_as_test(seeded, settings=policy)
    finally:
        told = ", ".join(f"{what} {times}" for what, times in sorted(Machine.tally.items()))
        record_property("schedules", f"{Machine.tally['schedules']} with HOOKFLOW_SEED={drawn}: {told}")
    assert Machine.tally["schedules"] >= number, f"only {Machine.tally['schedules']} schedules of {number}"
