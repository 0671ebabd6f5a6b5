"""The lease of a turn whose steps are long: kept while the worker lives, given up when it has lost the run."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from django_hookflow import WorkflowContext, workflow
from django_hookflow.events import log
from django_hookflow.models import Lease, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def expiry(run_id: str) -> Any:
    run = WorkflowRun.objects.get(run_id=run_id)
    return Lease.objects.values_list("expires_at", flat=True).get(run_uid=run.run_uid)


def test_a_step_longer_than_the_lease_keeps_it(hookflow: Hookflow, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_LEASE_SECONDS = 0.6
    meanwhile: list[str] = []

    @workflow(workflow_id="tests.lease.long")
    def long(ctx: WorkflowContext) -> str:
        def outlast() -> str:
            first = expiry(ctx.run_id)
            wait_until(lambda: expiry(ctx.run_id) > first, "the lease is renewed")
            second = expiry(ctx.run_id)
            wait_until(lambda: now() > first, "the first lease has run out")
            deliver_elsewhere(ctx.run_id)
            wait_until(lambda: expiry(ctx.run_id) > second, "the lease is renewed again")
            return "done"

        return ctx.step.run("outlast", outlast)

    def deliver_elsewhere(run_id: str) -> None:
        def deliver() -> None:
            meanwhile.append(hookflow.deliver(run_id).answer)
            connection.close()

        thread = threading.Thread(target=deliver)
        thread.start()
        thread.join()

    run_id = long.trigger()
    assert hookflow.deliver(run_id).answer == "completed"
    assert meanwhile == ["busy"]
    assert "turn.abandoned" not in [event.type for event in hookflow.events(run_id)]
    wait_until(lambda: not beating(), "the renewing thread ends with its turn")


def test_a_worker_that_lost_the_run_is_told_before_its_next_step(hookflow: Hookflow, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_LEASE_SECONDS = 0.3
    ran: list[str] = []

    @workflow(workflow_id="tests.lease.lost")
    def lost(ctx: WorkflowContext) -> None:
        [thread] = beating()
        QuerySet(Lease).delete()
        thread.join(20)
        ctx.step.run("next", lambda: ran.append("next"))

    run_id = lost.trigger()
    assert hookflow.deliver(run_id).answer == "lost"
    assert ran == []


def test_renewing_says_when_the_run_has_gone(hookflow: Hookflow) -> None:
    run_id = workflow(workflow_id="tests.lease.gone")(lambda ctx: None).trigger()
    claim = log.claim("tests.lease.gone", run_id, 1, owner="me", lease_seconds=1, facts={})
    assert claim.run_uid is not None
    assert log.renew(claim.run_uid, claim.turn_seq, 60) is True
    assert log.renew(claim.run_uid, claim.turn_seq + 1, 60) is False


def beating() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hookflow-leases" and thread.is_alive()]


def now() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT hookflow_now()")
        return cursor.fetchone()[0]
