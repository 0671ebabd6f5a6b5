"""The workflow that is crashed: plain, atomic, sleeping, calling, failing-then-succeeding and waiting steps, and signals."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import transaction

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import WorkflowEvent
from tests.crashes.outside import Bank
from tests.testapp.models import LedgerEntry

bank = Bank()


def validate(amount: int) -> dict[str, Any]:
    """A plain step's result: another one each time it runs, so that two records or a mixture of two would show."""
    return {"amount": amount, "nonce": uuid.uuid4().hex}


def enter(run_id: str, nonce: str, amount: int) -> int:
    """An atomic step's effect, with a savepoint inside as user code has them."""
    with transaction.atomic():
        LedgerEntry.objects.create(account=run_id, amount=amount, reference=nonce)
    return amount


def close(run_id: str, nonce: str) -> int:
    """An atomic step that reads what the earlier one wrote and writes twice."""
    booked = sum(entry.amount for entry in LedgerEntry.objects.filter(account=run_id))
    LedgerEntry.objects.create(account=f"{run_id}/closed", amount=booked, reference=nonce)
    LedgerEntry.objects.filter(account=run_id).update(reference=f"{nonce} closed")
    return booked


class OutOfReach(ConnectionError):
    """The failure that is part of the story, unlike those that a cut makes."""


def reserve(run_id: str) -> str:
    """Fails until one failure is in the log: so it fails once in every run, whatever else goes wrong meanwhile."""
    failures = WorkflowEvent.objects.filter(workflow_run__run_id=run_id, type="step.failed", step_id="reserve")
    if not any(event.facts["error"].endswith("OutOfReach") for event in failures):
        raise OutOfReach("the warehouse does not answer")
    return "reserved"


@workflow(workflow_id="tests.crashes.order", retry=Retry(max_attempts=4, first_delay=5, factor=2, jitter=0))
def order(ctx: WorkflowContext) -> Any:
    checked = ctx.step.run("validate", validate, ctx.data["amount"])
    nonce = checked["nonce"]
    booked = ctx.step.atomic("ledger", enter, ctx.run_id, nonce, checked["amount"])
    hint = ctx.step.wait_for_signal("hint")
    ctx.step.sleep("wait-for-payment", seconds=60)
    body = {"run": ctx.run_id, "nonce": nonce, "amount": booked}
    paid = ctx.step.call("charge", url=ctx.data["payments"], method="POST", body=body)
    reserved = ctx.step.run("reserve", reserve, ctx.run_id)
    wired = ctx.step.options(on_doubt="ask").run("wire", bank.transfer, ctx.run_id)
    approved = ctx.step.wait_for_signal("approval")
    closed = ctx.step.atomic("close", close, ctx.run_id, nonce)
    came_to = {"nonce": nonce, "booked": booked, "paid": paid, "reserved": reserved, "wired": wired, "closed": closed}
    return {**came_to, "hint": hint, "approved": approved}
