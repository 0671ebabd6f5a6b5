"""Rebuilding and comparing while work goes on: nobody waits for a rebuild, and nothing is seen half-way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from django_hookflow.projections import diff, rebuild
from django_hookflow.projections import ranges as ranges_module
from tests.log.calls import append, ask, failure, head_of, session, sleep, start, step, wait_until_blocked
from tests.projections.histories import make_runs
from tests.waiting import wait_until

if TYPE_CHECKING:
    from uuid import UUID

pytestmark = pytest.mark.django_db(transaction=True)


def rebuild_on_own_connection(pids: list[int]) -> int:
    """Rebuilds everything, in a thread; how many rows it repaired."""
    try:
        pids.append(ask("SELECT pg_backend_pid() AS pid")[0]["pid"])
        return sum(part.repaired.total() for part in rebuild())
    finally:
        connection.close()


def test_a_run_whose_head_is_held_is_done_last_and_holds_up_nobody() -> None:
    uids = make_runs(20)
    held, others = uids[7], [uid for uid in uids if uid != uids[7]]
    ask("DELETE FROM django_hookflow_workflowrun")
    ask("DELETE FROM django_hookflow_wait")
    pids: list[int] = []
    with session() as worker, session() as others_worker, ThreadPoolExecutor(1) as pool:
        worker.autocommit = False
        append(held, None, step("slow"), session=worker)
        rebuilding = pool.submit(rebuild_on_own_connection, pids)
        (pid,) = wait_until(lambda: pids, "the rebuild has begun")
        wait_until_blocked(pid, "the rebuild has come to the run that is held")
        assert ask("SELECT run_id FROM django_hookflow_workflowrun WHERE id = %s", held) == []
        assert len(ask("SELECT FROM django_hookflow_workflowrun")) == len(others)
        others_worker.execute("SET lock_timeout = '1ms'")
        for uid in others:  # a lock of the rebuild's would be an error here
            append(uid, None, step("meanwhile"), session=others_worker)
        worker.commit()
        assert rebuilding.result(timeout=20) > 0
    assert list(diff()) == []
    assert head_of(held)["last_seq"] == len(ask("SELECT FROM django_hookflow_event WHERE run_uid = %s", held))


def work_until(stop: threading.Event, uids: list[UUID], appended: list[int]) -> None:
    """Appends to every run in turn, and starts new ones, until it is to stop."""
    with session() as own:
        turn = 0
        while not stop.is_set():
            turn += 1
            for n, uid in enumerate(uids):
                append(uid, None, step(f"step-{turn}", n), sleep(f"nap-{turn % 9}", n), session=own)
                append(uid, None, failure("charge"), session=own)
                append(uid, None, ("run.resumed", None, None), session=own)
                appended.append(turn)
            start(f"new-{turn}", session=own)


def wait_until_longer(appended: list[int], length: int) -> None:
    wait_until(lambda: len(appended) > length, "the worker goes on appending")


def test_rebuilds_and_comparisons_beside_steady_appends_end_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranges_module, "RUNS_PER_RANGE", 5)
    uids = make_runs(30)
    stop, appended = threading.Event(), list[int]()
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_until, stop, uids, appended)
        try:
            for statement in (
                "UPDATE django_hookflow_workflowrun SET status = 'x', data = '1' WHERE run_id LIKE 'order-%2'",
                "UPDATE django_hookflow_wait SET due_at = NULL, kind = 'x' WHERE step_id = ''",
                "DELETE FROM django_hookflow_deadletterentry WHERE seq < 9",
            ):
                ask(statement)
                assert sum(part.repaired.total() for part in rebuild()) > 0
                assert list(diff()) == []  # while appends go on
                wait_until_longer(appended, len(appended) + 30)
        finally:
            stop.set()
        working.result(timeout=20)
    assert list(diff()) == []
    assert len(appended) > 90


def test_a_rebuild_that_stopped_half_way_leaves_whole_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "RUNS_PER_RANGE", 4)
    make_runs(20)
    ask("DELETE FROM django_hookflow_workflowrun")
    parts = rebuild()
    next(parts), next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert len(ask("SELECT FROM django_hookflow_workflowrun")) == 8
    assert sum(part.repaired["WorkflowRun"] for part in rebuild()) == 12
    assert list(diff()) == []
