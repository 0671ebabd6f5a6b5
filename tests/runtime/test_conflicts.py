"""What PostgreSQL undoes for the sake of others is done again: after a pause, and so that it comes to an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from django_hookflow import WorkflowContext, workflow
from django_hookflow.events.database import FIRST_PAUSE, LONGEST_PAUSE, TRIES, repeated_on_conflict
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.log.calls import session

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 40


@pytest.fixture
def _serializable() -> Iterator[None]:
    """What a project says by its role or its database, for every connection from now on."""
    set_default("ALTER DATABASE {} SET default_transaction_isolation = serializable")
    yield
    set_default("ALTER DATABASE {} RESET default_transaction_isolation")


@pytest.fixture
def _impatient() -> Iterator[None]:
    set_default("ALTER DATABASE {} SET lock_timeout = '20ms'")
    yield
    set_default("ALTER DATABASE {} RESET lock_timeout")


def set_default(statement: str) -> None:
    with connection.cursor() as c:
        c.execute(statement.format(connection.ops.quote_name(connection.settings_dict["NAME"])))
    connection.close()


@pytest.mark.usefixtures("_serializable")
def test_a_crowd_on_one_run_all_get_an_answer(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.conflicts")
    def waiting(ctx: WorkflowContext) -> None: ...

    run_id = waiting.trigger()
    together = threading.Barrier(CROWD)

    def act(number: int) -> tuple[str, bool]:
        try:
            run = WorkflowRun.objects.get(run_id=run_id)
            together.wait(30)
            asked = "pause" if number % 2 else "resume"
            return asked, getattr(run, asked)(reason=str(number))
        finally:
            connection.close()

    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(act, range(CROWD)))
    changes = [asked for asked, applied in answers if applied]
    types = [event.type for event in hookflow.events(run_id)]
    assert len(answers) == CROWD
    assert (types.count("run.paused"), types.count("run.resumed")) == (changes.count("pause"), changes.count("resume"))
    assert changes.count("pause") - changes.count("resume") in (0, 1)


def test_repetitions_pause_longer_each_time_and_no_two_callers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)

    @repeated_on_conflict
    def conflict() -> None:
        with connection.cursor() as c:
            c.execute("DO $$ BEGIN RAISE 'undone' USING ERRCODE = 'serialization_failure'; END $$")

    for _ in range(2):
        with pytest.raises(OperationalError, match="undone"):
            conflict()
    first, second = pauses[: TRIES - 1], pauses[TRIES - 1 :]
    assert len(second) == TRIES - 1
    assert first != second
    longest = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**repetition) for repetition in range(TRIES - 1)]
    assert all(0 <= pause <= most for pause, most in zip(pauses, longest * 2, strict=True))


def test_what_cannot_be_repeated_alone_is_raised_at_once() -> None:
    calls = []

    @repeated_on_conflict
    def conflict() -> None:
        calls.append(1)
        with connection.cursor() as c:
            c.execute("DO $$ BEGIN RAISE 'undone' USING ERRCODE = 'deadlock_detected'; END $$")

    with pytest.raises(OperationalError, match="undone"), transaction.atomic():
        conflict()
    assert len(calls) == 1


@pytest.mark.usefixtures("_impatient")
def test_a_lock_that_did_not_come_in_time_is_asked_for_again(
    hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    @workflow(workflow_id="tests.impatient")
    def waiting(ctx: WorkflowContext) -> None: ...

    run = WorkflowRun.objects.get(run_id=waiting.trigger())
    with session() as other:
        other.autocommit = False
        other.execute("SELECT FROM django_hookflow_head FOR UPDATE")
        monkeypatch.setattr(time, "sleep", lambda seconds: other.rollback())
        assert run.pause()
    assert hookflow.history(run.run_id) == ["run.triggered", "run.paused"]
