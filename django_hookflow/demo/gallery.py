"""Runs in every condition, to be looked at in the admin: asleep, waiting, failed, replayed, in doubt, diverged, rewound.

And runs that do several things at once: steps in threads, other runs, an async function. Each comes about as it would in life. Imported once Django is set up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from django_hookflow.demo.postgres import attempts_until
from django_hookflow.demo.shop.models import Order
from django_hookflow.demo.shop.orders import place_order, start_for
from django_hookflow.demo.shop.workflows import (
    compare_couriers,
    furnish_office,
    refund_order,
    ship_parcel,
    welcome_customer,
)
from django_hookflow.demo.stage import DemoFailed
from django_hookflow.models import DeadLetterEntry, StepExecution, Wait, WorkflowRun

if TYPE_CHECKING:
    from django_hookflow.demo.console import Console
    from django_hookflow.demo.stage import Stage

PATIENCE_SECONDS = 60.0


class Gallery:
    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console

    def hang(self, finished: Order) -> None:
        """``finished`` is an order that went through."""
        self._tell(place_order("Grace", 9_900, wait=3_600).run_id, "sleeps for an hour")
        self._leave_in_doubt()
        self._fail_and_mend()
        self._diverge()
        self._rewind(finished)
        self._ask()
        self._fan_out()
        self._delay()
        self._gather()

    def _fan_out(self) -> None:
        run_id = f"furnish-{start_for(furnish_office, 'furnish', 'Leslie', is_unlucky=True).pk}"
        self._wait_until(lambda: Wait.objects.filter(run__run_id=run_id, kind="signal").exists(), f"{run_id} to ask")
        run = WorkflowRun.objects.get(run_id=run_id)
        run.signal("approval", {"approved": "yes"}, actor="admin")
        self._wait_until(
            lambda: (
                run.children.filter(status="completed").exists()
                and Wait.objects.filter(run__parent=run, kind="signal").exists()
            ),
            f"{run_id} to have one finished and one waiting child",
        )
        self._tell(run_id, "approved; reserved four items in parallel, one of them after a retry")
        for child in run.children.order_by("created_at"):
            how = "completed" if child.status == "completed" else "waits for the payment"
            self._tell(child.run_id, f"child run, {how}")

    def _delay(self) -> None:
        order = start_for(ship_parcel, "parcel", "Margaret", delay=timedelta(hours=1))
        self._tell(f"parcel-{order.pk}", "starts in an hour")

    def _gather(self) -> None:
        run_id = f"couriers-{start_for(compare_couriers, 'couriers', 'Alan').pk}"
        self._wait_for(run_id, "completed")
        self._tell(run_id, "async workflow that asked three couriers in parallel")

    def _ask(self) -> None:
        run_id = f"refund-{start_for(refund_order, 'refund', 'Alan').pk}"
        self._wait_until(lambda: Wait.objects.filter(run__run_id=run_id, kind="signal").exists(), f"{run_id} to ask")
        link = StepExecution.objects.get(workflow_run__run_id=run_id, step_id="ask-owner").result
        self._tell(run_id, f"waits for a decision: {link}")

    def _fail_and_mend(self) -> None:
        broken, mended = place_order("Tony", 0), place_order("Edsger", 0)
        for order in (broken, mended):
            self._wait_for(order.run_id, "failed")
        self._tell(broken.run_id, "failed: the order is empty")
        Order.objects.filter(pk=mended.pk).update(amount=2_500)
        DeadLetterEntry.objects.get(run_id=mended.run_id).replay(reason="the amount was missing", actor="admin")
        self._wait_for(mended.run_id, "completed")
        self._tell(mended.run_id, "failed, then replayed after a fix")

    def _diverge(self) -> None:
        order = start_for(welcome_customer, "welcome", "Niklaus")
        run_id = f"welcome-{order.pk}"
        self._wait_until(
            lambda: StepExecution.objects.filter(workflow_run__run_id=run_id).exists(), "a welcome to be sent"
        )
        Order.objects.filter(pk=order.pk).update(channel="letter")
        self._wait_for(run_id, "diverged")
        self._tell(run_id, "diverged: the code asks for a different step than the recorded one")

    def _rewind(self, finished: Order) -> None:
        run = WorkflowRun.objects.get(run_id=finished.run_id)
        run.rewind(to_step="fulfil", reason="the address was wrong", actor="admin")
        self._wait_for(finished.run_id, "completed")
        self._tell(finished.run_id, "rewound to the step fulfil, which ran again")

    def _leave_in_doubt(self) -> None:
        order = start_for(ship_parcel, "parcel", "Barbara", is_unlucky=True)
        web = self._stage.web
        assert web is not None
        self._wait_until(lambda: not web.is_running(), "the web process to stop")
        self._stage.start_web()
        self._wait_for(f"parcel-{order.pk}", "in_doubt")
        self._tell(f"parcel-{order.pk}", "in doubt: its worker was killed while booking a courier")

    def _tell(self, run_id: str, what: str) -> None:
        self._console.fact(run_id, what)

    def _wait_for(self, run_id: str, status: str) -> None:
        self._wait_until(
            lambda: WorkflowRun.objects.filter(run_id=run_id, status=status).exists(), f"{run_id} to be {status}"
        )

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in attempts_until(time.monotonic() + PATIENCE_SECONDS):
            if condition():
                return
        raise DemoFailed(f"timed out after {PATIENCE_SECONDS:.0f} s waiting for {what}")
