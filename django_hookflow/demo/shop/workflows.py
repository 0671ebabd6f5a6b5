"""What happens to an order, to its parcel, to its invoice, and to a customer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings

from django_hookflow import Retry, workflow
from django_hookflow.demo.shop.models import LedgerEntry, Order

if TYPE_CHECKING:
    from django_hookflow import WorkflowContext

FURNITURE = ("chair", "desk", "lamp", "shelf")
#: What each courier asks for a parcel, in cents.
COURIERS = {"swift": 1_200, "steady": 700, "slow": 450}


@workflow(workflow_id="process-order")
def process_order(ctx: WorkflowContext) -> dict[str, Any]:
    order = ctx.step.run("validate", validate_order, ctx.data["order_id"])
    ctx.step.sleep("wait-for-payment", seconds=ctx.data.get("wait", settings.SHOP_PAYMENT_WAIT_SECONDS))
    paid = ctx.step.call("charge", url=settings.SHOP_PAYMENT_URL, method="POST", body={"amount": order["amount"]})
    ctx.step.atomic("ledger", write_ledger, order, paid["data"]["charge_id"])
    parcel = ctx.step.run("fulfil", fulfil_order, order["id"])
    return {"status": "completed", "parcel": parcel}


@workflow(workflow_id="ship-parcel")
def ship_parcel(ctx: WorkflowContext) -> str:
    parcel = ctx.step.run("pack", lambda: f"parcel-{ctx.data['order_id']}")
    # The courier knows no idempotency key: whoever dies while booking must not book again without asking.
    ctx.step.options(on_doubt="ask").run("book-courier", book_courier, ctx.data["order_id"])
    ctx.step.run("tell-customer", lambda: f"{parcel} is on its way")
    return parcel


@workflow(workflow_id="welcome-customer")
def welcome_customer(ctx: WorkflowContext) -> str:
    # A mistake that is easily made: what is read outside a step may be something else at the next turn.
    channel = Order.objects.get(pk=ctx.data["order_id"]).channel
    ctx.step.run(f"welcome-by-{channel}", lambda: "sent")
    ctx.step.sleep("let-them-try", seconds=settings.SHOP_PAYMENT_WAIT_SECONDS)
    ctx.step.run(f"ask-by-{channel}", lambda: "sent")
    return channel


@workflow(workflow_id="refund-order")
def refund_order(ctx: WorkflowContext) -> str:
    link = ctx.signal_url("decision", expires=timedelta(days=30))
    ctx.step.run("ask-owner", lambda: f"{link}?approved=yes")  # a shop would mail it
    decision = ctx.step.wait_for_signal("decision")
    return "refunded" if decision.get("approved") == "yes" else "kept"


@workflow(workflow_id="furnish-office")
def furnish_office(ctx: WorkflowContext) -> dict[str, Any]:
    order = {"order_id": ctx.data["order_id"]}
    link = ctx.signal_url("approval", expires=timedelta(days=30))
    ctx.step.run("ask-manager", lambda: f"{link}?approved=yes")
    if ctx.step.wait_for_signal("approval").get("approved") != "yes":
        return {"status": "declined"}
    policy = Retry(first_delay=1, jitter=0)
    places = ctx.step.options(retry=policy).map("reserve", lambda what: reserve(what, **order), FURNITURE, key=str)
    with ctx.step.parallel() as group:
        parcel = group.child("parcel", ship_parcel, order)
        payment = group.child("invoice", send_invoice, order)
    return {"status": payment.result(), "places": places, "parcel": parcel.result()}


@workflow(workflow_id="send-invoice")
def send_invoice(ctx: WorkflowContext) -> str:
    ctx.step.run("mail-invoice", lambda: "sent")
    payment = ctx.step.wait_for_signal("payment", timeout=timedelta(days=30), default=None)
    return "paid" if payment else "overdue"


@workflow(workflow_id="compare-couriers")
async def compare_couriers(ctx: WorkflowContext) -> str:
    prices = await asyncio.gather(*(ctx.step.run(f"ask-{name}", ask_courier, name) for name in COURIERS))
    return min(zip(prices, COURIERS, strict=True))[1]


def validate_order(order_id: int) -> dict[str, Any]:
    order = Order.objects.get(pk=order_id)
    if order.amount == 0:
        raise ValueError(f"{order} is empty")
    return {"id": order.pk, "amount": order.amount}


def write_ledger(order: dict[str, Any], charge_id: str) -> int:
    entry = LedgerEntry.objects.create(order_id=order["id"], amount=order["amount"], charge_id=charge_id)
    return entry.pk


def book_courier(order_id: int) -> str:
    if Order.objects.filter(pk=order_id, is_unlucky=True).update(is_unlucky=False):
        os.kill(os.getpid(), signal.SIGKILL)
    return f"courier-{order_id}"


def fulfil_order(order_id: int) -> str:
    Order.objects.filter(pk=order_id).update(status=Order.Status.FULFILLED)
    return f"parcel-{order_id}"


def reserve(article: str, order_id: int) -> str:
    time.sleep(0.5)  # the warehouse takes its time
    if article == "desk" and Order.objects.filter(pk=order_id, is_unlucky=True).update(is_unlucky=False):
        raise ConnectionError("the warehouse did not answer")
    return f"a place for the {article}"


async def ask_courier(name: str) -> int:
    await asyncio.sleep(COURIERS[name] / 1_000)
    return COURIERS[name]
