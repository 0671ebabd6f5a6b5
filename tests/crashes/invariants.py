"""What must be true of a schedule's runs after every move (``invariants.sql``), and what their results must be at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection

from django_hookflow.models import StepExecution, WorkflowRun
from django_hookflow.projections.ranges import LAST_UID

FUNCTION = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


@contextmanager
def installed() -> Iterator[None]:
    """The test's database has the function that looks for violations."""
    with connection.cursor() as c:
        c.execute(FUNCTION)
    try:
        yield
    finally:
        with connection.cursor() as c:
            c.execute("DROP FUNCTION crashes_violations")


def violations(first_uid: UUID, ledger: int) -> list[str]:
    """What is wrong with the runs from ``first_uid`` on; empty when all is well."""
    with connection.cursor() as c:
        c.execute("SELECT * FROM crashes_violations(%s, %s, %s)", [first_uid, LAST_UID, ledger])
        return [f"{run}: {what}" for run, what in c.fetchall()]


def result_from_record(run: WorkflowRun) -> list[Any]:
    """What a run's function must have returned, going by what the log says of its steps."""
    recorded = {step.step_id: step.result for step in StepExecution.objects.filter(workflow_run=run)}
    ids = [f"{i}-{step['kind']}" for i, step in enumerate(run.data["steps"])]
    return [recorded.get(step_id, "caught") for step_id in ids]


def uid_of_next_millisecond() -> UUID:
    """The least id that a run started from now on can have: ids begin with the time in milliseconds."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == now:
        pass
    return UUID(int=(now + 1) << 80)
