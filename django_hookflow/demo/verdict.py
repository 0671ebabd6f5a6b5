"""What must be true at the end of the story. Imported once Django is set up."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.conf import settings

from django_hookflow.demo.shop.models import Charge, LedgerEntry
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    from django_hookflow.demo.shop.models import Order
    from django_hookflow.models import WorkflowEvent

STEPS = ["validate", "wait-for-payment", "charge", "ledger", "fulfil"]


def judge(order: Order) -> list[tuple[bool, str]]:
    """Each promise with whether it was kept."""
    order.refresh_from_db()
    run = WorkflowRun.objects.get(run_id=order.run_id)
    events = list(run.events.order_by("seq"))
    recorded = Counter(event.step_id for event in events if event.type == "step.completed")
    charges = list(Charge.objects.all())
    return [
        (run.status == "completed", f"the run completed: {run.result}"),
        (
            recorded == Counter(STEPS) and [s.step_id for s in run.step_executions.order_by("seq")] == STEPS,
            f"each of the {len(STEPS)} steps is recorded exactly once",
        ),
        ([event.seq for event in events] == list(range(1, len(events) + 1)), "the log has no gap and no fork"),
        (
            any(event.type == "turn.abandoned" for event in events),
            "the log shows the crash: turn.abandoned",
        ),
        (slept_long_enough(events), "the sleep was not cut short"),
        (
            len(charges) == 1 and charges[0].requests == 2,
            "the payment provider received two requests with the same Idempotency-Key and charged once",
        ),
        (LedgerEntry.objects.filter(order=order).count() == 1, "the ledger has exactly one entry"),
        (order.status == order.Status.FULFILLED, "the order is fulfilled"),
    ]


def slept_long_enough(events: list[WorkflowEvent]) -> bool:
    began = [event for event in events if event.type == "step.suspended"]
    ended = [event for event in events if event.type == "step.completed" and event.step_id == "wait-for-payment"]
    if not (began and ended):
        return False
    return (ended[0].recorded_at - began[0].recorded_at).total_seconds() >= settings.SHOP_PAYMENT_WAIT_SECONDS
