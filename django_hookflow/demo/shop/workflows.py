"""What happens to an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings

from django_hookflow import workflow
from django_hookflow.demo.shop.models import LedgerEntry, Order

if TYPE_CHECKING:
    from django_hookflow import WorkflowContext


@workflow(workflow_id="process-order")
def process_order(ctx: WorkflowContext) -> dict[str, Any]:
    order = ctx.step.run("validate", validate_order, ctx.data["order_id"])
    ctx.step.sleep("wait-for-payment", seconds=settings.SHOP_PAYMENT_WAIT_SECONDS)
    paid = ctx.step.call("charge", url=settings.SHOP_PAYMENT_URL, method="POST", body={"amount": order["amount"]})
    ctx.step.atomic("ledger", write_ledger, order, paid["data"]["charge_id"])
    parcel = ctx.step.run("fulfil", fulfil_order, order["id"])
    return {"status": "completed", "parcel": parcel}


def validate_order(order_id: int) -> dict[str, Any]:
    order = Order.objects.get(pk=order_id)
    if order.amount == 0:
        raise ValueError(f"{order} is empty")
    return {"id": order.pk, "amount": order.amount}


def write_ledger(order: dict[str, Any], charge_id: str) -> int:
    entry = LedgerEntry.objects.create(order_id=order["id"], amount=order["amount"], charge_id=charge_id)
    return entry.pk


def fulfil_order(order_id: int) -> str:
    Order.objects.filter(pk=order_id).update(status=Order.Status.FULFILLED)
    return f"parcel-{order_id}"
