"""The shop's one page: the latest orders, and a button that places another."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from django.db.models import Count
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from django_hookflow.demo.shop.models import Order
from django_hookflow.demo.shop.orders import place_order
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

CUSTOMERS = ["Ada", "Barbara", "Edsger", "Grace", "Leslie", "Margaret", "Niklaus", "Tony"]


def index(request: HttpRequest) -> HttpResponse:
    orders = list(Order.objects.annotate(bookings=Count("ledger_entries")).order_by("-pk")[:15])
    runs = WorkflowRun.objects.prefetch_related("step_executions").in_bulk(
        [order.run_id for order in orders], field_name="run_id"
    )
    rows = [
        {"order": order, "run": runs[order.run_id], "price": f"{order.amount / 100:.2f}"}
        for order in orders
        if order.run_id in runs
    ]
    return render(request, "shop/index.html", {"rows": rows})


@require_POST
def place(request: HttpRequest) -> HttpResponse:
    place_order(random.choice(CUSTOMERS), random.randrange(500, 20_000, 5))
    return redirect("shop")
