"""Scenario 13: a rebuild beside appends, killed half-way again and again, and resumed. In small; benchmarks/ has the million."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connection

from django_hookflow.projections import diff
from tests.log.calls import append, ask, session, start, step
from tests.projections.histories import make_runs
from tests.waiting import wait_until

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

RUNS = 6_000
KILLS = 10


def blocked_by(holder: psycopg.Connection[Any]) -> bool:
    return bool(
        ask("SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid)) LIMIT 1", holder.info.backend_pid)
    )


def others_at_work() -> bool:
    """Whether a session that is not this test's still runs a statement: the killed process's, until it is noticed."""
    return bool(
        ask(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND state <> 'idle'"
        )
    )


def start_rebuild(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "django", "hookflow_rebuild"], env=environment)


def work_until(stop: threading.Event, uids: list[UUID], errors: list[Exception]) -> None:
    """Appends to old runs and starts new ones; an append that waits for more than a second is an error."""
    try:
        with session() as own:
            own.execute("SET lock_timeout = '1s'")
            for turn in range(1_000_000):
                if stop.is_set():
                    return
                append(uids[turn % len(uids)], None, step(f"later-{turn}"), session=own)
                append(start(session=own)["run_uid"], 1, step("a"), session=own)
    except Exception as error:
        errors.append(error)


def test_killed_at_ten_random_moments_and_resumed_it_ends_with_no_difference(
    process_environment: dict[str, str],
) -> None:
    uids = make_runs(RUNS)
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE django_hookflow_workflowrun, django_hookflow_wait, django_hookflow_deadletterentry CASCADE"
        )
    seed = int(os.environ.get("HOOKFLOW_SEED", random.randrange(10**8)))
    sys.stdout.write(f"seed: {seed}\n")  # shown if it fails
    for uid in random.Random(seed).sample(uids, KILLS):
        with session() as holder:
            holder.autocommit = False
            # A run that is held is done after its range: the rebuild waits there, with others behind it and before it.
            holder.execute("SELECT FROM django_hookflow_head WHERE run_uid = %s FOR UPDATE", [uid])
            rebuilding = start_rebuild(process_environment)
            wait_until(lambda: blocked_by(holder), "the rebuild has come to the run that is held")
            rebuilding.send_signal(signal.SIGKILL)
            assert rebuilding.wait() == -signal.SIGKILL
        wait_until(lambda: not others_at_work(), "the server has noticed")
    ask("DELETE FROM django_hookflow_workflowrun WHERE id = ANY (%s)", uids[::7])
    assert list(diff()) != []
    stop, errors = threading.Event(), list[Exception]()
    worker = threading.Thread(target=work_until, args=(stop, uids, errors))
    worker.start()
    try:
        assert start_rebuild(process_environment).wait() == 0
        assert list(diff()) == []
    finally:
        stop.set()
        worker.join()
    assert errors == []
    assert list(diff()) == []
