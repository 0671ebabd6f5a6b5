"""The story: an order goes through, and the web process is killed at the worst moment.

That moment is after the payment provider has booked the charge and before the workflow knows: the step is not
recorded, so it will run again, and must not charge again. Imported once Django is set up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from django_hookflow.demo.postgres import attempts_until
from django_hookflow.demo.shop.models import Charge
from django_hookflow.demo.shop.orders import place_order
from django_hookflow.demo.stage import DemoFailed
from django_hookflow.models import WorkflowEvent, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_hookflow.demo.console import Console
    from django_hookflow.demo.shop.models import Order
    from django_hookflow.demo.stage import Stage

PATIENCE_SECONDS = 60.0
ENDED = ("completed", "failed", "diverged", "cancelled")
#: Positions are drawn in order and committed in any: an event may show up behind one that was seen before it.
LATE_BY = 200


class EventTail:
    """Prints each event of every run once, as it is appended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[int] = set()
        self._last = 0

    def print_new(self) -> None:
        for event in WorkflowEvent.objects.filter(position__gt=self._last - LATE_BY).order_by("position"):
            if event.position not in self._seen:
                self._console.event(event)
                self._seen.add(event.position)
                self._last = max(self._last, event.position)
        self._seen = {position for position in self._seen if position > self._last - LATE_BY}


class DemoStory:
    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._tail = EventTail(console)

    def play(self) -> Order:
        """Plays it to the end of the run; raises DemoFailed if that does not come."""
        console = self._console
        order = place_order("Ada", 4_200)
        console.title(f"Ada places an order for {order.amount / 100:.2f}: run {order.run_id} of process-order")
        console.event_header()
        self._follow_until(lambda: Charge.objects.exists(), "the payment provider receives a request")
        self._crash_web_process()
        self._follow_until(lambda: self._has_ended(order), "the run to end")
        return order

    def follow(self) -> NoReturn:
        """Goes on printing events until the demo is stopped."""
        while True:
            self._stage.check_alive()
            self._tail.print_new()
            time.sleep(0.2)

    def _crash_web_process(self) -> None:
        killed = self._stage.web
        assert killed is not None
        killed.kill()
        self._tail.print_new()
        self._console.drama(
            f"kill -9 {killed.pid}: the web process is killed. The payment provider has booked the charge, but the "
            "workflow has not recorded it."
        )
        restarted = self._stage.start_web()
        self._console.drama(f"restarted as {restarted.pid}. It only has the event log to continue from.")

    def _follow_until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in attempts_until(time.monotonic() + PATIENCE_SECONDS):
            self._stage.check_alive()
            self._tail.print_new()
            if condition():
                self._tail.print_new()
                return
        raise DemoFailed(f"timed out after {PATIENCE_SECONDS:.0f} s waiting for {what}")

    def _has_ended(self, order: Order) -> bool:
        return WorkflowRun.objects.filter(run_id=order.run_id, status__in=ENDED).exists()
