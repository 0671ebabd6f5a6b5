"""Placing an order, and what else a shop does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from django_hookflow.demo.shop.models import Order
from django_hookflow.demo.shop.workflows import process_order

if TYPE_CHECKING:
    from datetime import timedelta

    from django_hookflow import Workflow


def place_order(customer: str, amount: int, **data: object) -> Order:
    """The order and its run come into being together: neither exists if the transaction fails."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer, amount=amount)
        process_order.trigger({"order_id": order.pk, **data}, order.run_id, actor=customer, label=label_of(order))
    return order


def start_for(
    workflow: Workflow, name: str, customer: str, *, delay: timedelta | None = None, **fields: object
) -> Order:
    """Another workflow, for an order that is there already."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer, amount=1_000, **fields)
        run_id = f"{name}-{order.pk}"
        workflow.trigger({"order_id": order.pk}, run_id, actor="shop", label=label_of(order), delay=delay)
    return order


def label_of(order: Order) -> str:
    return f"{order.customer}, {order.amount / 100:.2f}"
