"""Subscribers, where autodiscovery finds them. What they do shows in the ledger; a test may hold the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from django_hookflow import on_event
from tests.testapp.models import LedgerEntry

if TYPE_CHECKING:
    from django_hookflow.models import WorkflowEvent

GATE = 4711


@on_event("step.completed", name="accounts", from_start=True)
def keep_accounts(event: WorkflowEvent) -> None:
    LedgerEntry.objects.create(account="accounts", amount=event.seq, reference=event.run_id)
    with connection.cursor() as c:
        c.execute("SELECT pg_advisory_xact_lock_shared(%s)", [GATE])


@on_event("run.failed", "run.cancelled", name="page-someone")
def page_someone(event: WorkflowEvent) -> None:
    if event.payload and event.payload.get("reason") == "unspeakable":
        raise ValueError("cannot say that")
    LedgerEntry.objects.create(account="page-someone", amount=event.seq, reference=event.run_id)
