"""Runs of the real engine, each with a story worth looking at, made in moved time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    from django_hookflow.testing import Hookflow


class CardDeclined(Exception):
    """The bank said no."""


class GatewayTimeout(Exception):
    """The bank said nothing."""


def validate(order: dict[str, Any]) -> dict[str, Any]:
    return {"order": order["id"], "lines": len(order["lines"]), "total": "89.90"}


def reserve(order: str) -> dict[str, Any]:
    return {"warehouse": "north", "reservation": f"r-{order}", "until": "2026-11-23T12:00:00Z"}


def charge(how: str, tries: list[int]) -> dict[str, Any]:
    tries.append(1)
    if how == "declined":
        raise CardDeclined("the card ending in 4242 was declined: insufficient funds")
    if how == "flaky" and len(tries) < 3:
        raise GatewayTimeout("the bank did not answer within 10 s")
    return {"charge": "ch_71", "paid": True, "amount": "89.90"}


def ship(order: str) -> dict[str, Any]:
    return {"parcel": f"p-{order}", "carrier": "slow post"}


#: How often the step ``charge`` of the run that is being made has been tried.
TRIES: list[int] = []


@workflow(workflow_id="shop.process_order")
def process_order(ctx: WorkflowContext) -> Any:
    checked = ctx.step.run("validate", validate, ctx.data)
    ctx.step.run("reserve-stock", reserve, checked["order"])
    ctx.step.sleep("wait-for-payment", seconds=3600)
    policy = Retry(max_attempts=3, first_delay=20, jitter=0)
    paid = ctx.step.options(retry=policy).run("charge", charge, ctx.data["payment"], TRIES)
    parcel = ctx.step.run("ship", ship, checked["order"])
    return {"paid": paid["paid"], "parcel": parcel["parcel"]}


def data(payment: str) -> dict[str, Any]:
    lines = [{"article": f"A-{n}", "amount": n} for n in range(1, 4)]
    return {"id": "1042", "payment": payment, "lines": lines, "customer": {"name": "Ada", "city": "London"}}


def trigger(run_id: str, payment: str) -> str:
    TRIES.clear()
    return process_order.trigger(data(payment), run_id)


def completed(hookflow: Hookflow, run_id: str = "order-1042") -> WorkflowRun:
    """Completed, after two attempts at charging that failed."""
    return hookflow.drive(trigger(run_id, "flaky"))


def failed(hookflow: Hookflow, run_id: str = "order-1043") -> WorkflowRun:
    return hookflow.drive(trigger(run_id, "declined"))


def sleeping(hookflow: Hookflow, run_id: str = "order-1044") -> WorkflowRun:
    trigger(run_id, "fine")
    hookflow.deliver(run_id)
    hookflow.advance(3559)
    return WorkflowRun.objects.get(run_id=run_id)


def rewound(hookflow: Hookflow, run_id: str = "order-1045") -> WorkflowRun:
    """Completed for a second time, since somebody rewound the failure of the first."""
    run = failed(hookflow, run_id)
    run.rewind(to_step="reserve-stock", reason="the stock was wrong", actor="ada")
    TRIES.clear()
    hookflow.stub("charge", {"charge": "ch_72", "paid": True})
    return hookflow.drive(run_id)


def lost(hookflow: Hookflow, run_id: str = "order-1046") -> WorkflowRun:
    """Completed, by a second worker: the first was killed while it shipped."""
    trigger(run_id, "fine")
    hookflow.crash("ship", "after")
    return hookflow.drive(run_id)
