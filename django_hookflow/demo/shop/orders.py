"""Placing an order."""

from __future__ import annotations

from django.db import transaction

from django_hookflow.demo.shop.models import Order
from django_hookflow.demo.shop.workflows import process_order


def place_order(customer: str, amount: int) -> Order:
    """The order and its run come into being together: neither exists if the transaction fails."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer, amount=amount)
        process_order.trigger(data={"order_id": order.pk}, run_id=order.run_id, actor=customer)
    return order
