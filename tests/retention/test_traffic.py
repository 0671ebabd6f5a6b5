"""Scenario 18: retention during traffic. Runs are started, worked on, fail, are replayed, sleep, and all the while
everything that has just ended is archived and removed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery.relay import Relay
from django_hookflow.dlq import DeadLetterEntry
from django_hookflow.exceptions import ArchivedRun, OperationRefused
from django_hookflow.models import Head, OutboxMessage, WorkflowRun
from django_hookflow.retention.cleaning import clean
from django_hookflow.retention.runs import moment_before
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.log.calls import ask
from tests.retention.small import make_batches_small
from tests.retention.stage import archived_in, archives_in, assert_nothing_differs, cleanup
from tests.testapp.models import LedgerEntry
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = 3
#: What an operator who replays a dead letter may get when the run has gone meanwhile, or has been replayed.
REFUSALS = (ArchivedRun, OperationRefused)


def book(run_id: str) -> None:
    LedgerEntry.objects.create(account=run_id, amount=1)


@workflow(workflow_id="tests.retention.busy")
def busy(ctx: WorkflowContext) -> str:
    for number in range(STEPS):
        ctx.step.atomic(f"book-{number}", book, ctx.run_id)
    if ctx.data.get("sleeps"):
        ctx.step.sleep("nap", seconds=10 * 86_400)
    if ctx.data.get("fails"):
        raise ValueError("no")
    return "done"


class Crew:
    """Threads that do their work over and over until the end, each on a connection of its own."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(len(works))
        self.rounds: Counter[str] = Counter()
        self._futures = [self._pool.submit(self._repeat, work) for work in works]

    def _repeat(self, work: Callable[[], object]) -> None:
        try:
            while not self._stop.is_set():
                work()
                self.rounds[work.__name__] += 1
        finally:
            connection.close()

    def end(self) -> None:
        self._stop.set()
        for future in self._futures:
            future.result(timeout=60)
        self._pool.shutdown()


def relay() -> None:
    Relay("inline", receive, concurrency=1).run_once()


def replay_what_failed() -> None:
    for entry in DeadLetterEntry.objects.filter(is_replayed=False)[:5]:
        try:
            entry.replay(actor="operator")
        except REFUSALS:
            pass


def test_runs_that_have_just_ended_are_retired_while_others_run(
    hookflow: Hookflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batches_small(monkeypatch.setattr)
    sleeper = busy.trigger({"sleeps": True}, run_id="sleeper")

    def clean_up() -> None:
        list(clean(moment_before(0), archive_to=tmp_path))

    with override_settings(DJANGO_HOOKFLOW_TRANSPORT="inline"):
        crew = Crew(relay, relay, replay_what_failed, clean_up)
        try:
            ids = [busy.trigger({"fails": n % 3 == 0}, run_id=f"busy-{n}") for n in range(90)]
            wait_until(lambda: Head.objects.filter(archived_at__isnull=False).count() > 60, "many are retired", 60)
        finally:
            crew.end()
        assert min(crew.rounds.values()) > 1, crew.rounds
        while OutboxMessage.objects.exclude(run_uid=WorkflowRun.objects.get(run_id=sleeper).run_uid).exists():
            relay()
    assert WorkflowRun.objects.get(run_id=sleeper).status == "running"
    assert_nothing_differs()
    cleanup("--days-old", "0", "--archive-to", str(tmp_path))

    assert [head.run_id for head in Head.objects.filter(archived_at=None)] == [sleeper]
    kept = archived_in(tmp_path)
    for head in Head.objects.exclude(run_id=sleeper):
        events = kept[str(head.run_uid)]
        assert len(events) == head.last_seq
        assert bytes.fromhex(events[-1]["hash"]) == bytes(head.head_hash)
        assert events[-1]["type"] in ("run.completed", "run.failed", "run.replay_repeated")
    assert Counter(LedgerEntry.objects.values_list("account", flat=True)) == dict.fromkeys([*ids, sleeper], STEPS)
    assert {row["run_id"] for row in ask("SELECT run_id FROM django_hookflow_workflowrun")} == {sleeper}
    assert len(archives_in(tmp_path)) > 5

    hookflow.advance(11 * 86_400)
    assert hookflow.drive(sleeper).status == "completed"
    assert_nothing_differs()
