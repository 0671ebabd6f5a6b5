"""Scenario 21: a crash at every single statement of a run, before and after it, then redelivery until done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import override_settings

from django_hookflow.delivery.relay import Relay
from django_hookflow.models import Lease, OutboxMessage, WorkflowRun
from django_hookflow.projections.difference import diff
from django_hookflow.runtime.turn import run_turn
from django_hookflow.testing import Hookflow
from tests.crashes.comparison import Outcome, failures_by_cut, outcome_of
from tests.crashes.order import bank, order, validated
from tests.crashes.outside import PaymentService
from tests.crashes.wire import Cut, Wire

pytestmark = pytest.mark.django_db(transaction=True)

ENDED = ("completed", "failed", "cancelled")
Deliver = Callable[[OutboxMessage, str], None]


def deliver_message(announced: OutboxMessage, run_id: str) -> None:
    """A delivery as the webhook makes it, on a connection of its own."""
    run_turn(order.workflow_id, run_id, announced.seq)


def deliver_by_relay(announced: OutboxMessage, run_id: str) -> None:
    """A pass of the relay, which runs the turn itself: its own statements are cut too."""
    Relay("inline", run_turn, concurrency=1).run_once()


@dataclass
class Stage:
    """What a run needs to be played: time, deliveries, the world outside, and an operator who answers when asked."""

    hookflow: Hookflow
    wire: Wire
    payments: PaymentService
    deliver: Deliver

    def play(self, cut: Cut | None = None) -> str:
        """A fresh run, cut at one place, delivered until it ends; its id."""
        self.wire.start_over(cut)
        run_id = order.trigger({"amount": 100, "payments": self.payments.url})
        for _ in range(40):
            run = WorkflowRun.objects.get(run_id=run_id)
            if run.status in ENDED:
                return run_id
            if run.status == "in_doubt":
                run.resolve("wire", result=bank.made_sure(run_id), actor="operator", reason="asked the bank")
                continue
            self._take_a_turn(run)
        raise AssertionError(f"run {run_id} is stuck: {WorkflowRun.objects.get(run_id=run_id)}")

    def _take_a_turn(self, run: WorkflowRun) -> None:
        announced = OutboxMessage.objects.get(run_uid=run.run_uid)
        self._wait_for(announced)
        connection.close()  # as Django does after each request: sessions begin within what is counted
        with self.wire.watched():
            try:
                self.deliver(announced, run.run_id)
            except (OperationalError, InterfaceError):
                pass  # the request ends in a 500, or the relay's pass fails: there will be others
        connection.close()

    def _wait_for(self, announced: OutboxMessage) -> None:
        """Moves time to where a worker may begin: the turn is due and sent, the lease of a dead worker has run out."""
        lease = Lease.objects.filter(run_uid=announced.run_uid).first()
        begins = [announced.due_at, *([lease.expires_at] if lease else [])]
        if self.deliver is deliver_by_relay:
            begins.append(announced.send_at)
        with connection.cursor() as c:
            c.execute("SELECT extract(epoch FROM %s - hookflow_now())::float8", [max(begins)])
            wait = c.fetchone()[0]
        if wait > 0:
            self.hookflow.advance(wait)


def problems_of(stage: Stage, run_id: str, undisturbed: Outcome) -> list[str]:
    """In what a crashed run is not what it should be; empty when all is well."""
    outcome = outcome_of(run_id)
    found = [
        f"{name} is {value}, undisturbed {getattr(undisturbed, name)}"
        for name, value in vars(outcome).items()
        if value != getattr(undisturbed, name)
    ]
    found += [f"projection: {difference}" for difference in diff(run_id)]
    requests = [bodies for bodies in stage.payments.requests.values() if run_id_of(bodies, run_id)]
    if len(requests) != 1 or any(body != requests[0][0] for body in requests[0]):
        found.append(f"charged under {len(requests)} keys: {requests}")
    if bank.transfers.count(run_id) != 1:
        found.append(f"{bank.transfers.count(run_id)} transfers")
    if failures_by_cut(run_id) > 1:
        found.append(f"{failures_by_cut(run_id)} attempts failed for one cut")
    return found


def run_id_of(bodies: list[object], run_id: str) -> bool:
    run = WorkflowRun.objects.get(run_id=run_id)
    return any(isinstance(body, dict) and body["nonce"] == run.result["nonce"] for body in bodies)


@pytest.mark.parametrize(
    ("deliver", "steps_per_turn"),
    [
        pytest.param(deliver_message, None, id="message"),
        pytest.param(deliver_message, 1, id="message-per-step"),
        pytest.param(deliver_by_relay, None, id="relay"),
    ],
)
def test_a_crash_at_every_statement(
    hookflow: Hookflow,
    wire: Wire,
    payments: PaymentService,
    deliver: Deliver,
    steps_per_turn: int | None,
    record_property: Callable[[str, object], None],
) -> None:
    stage = Stage(hookflow, wire, payments, deliver)
    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=steps_per_turn):
        run_id = stage.play()
        undisturbed, statements = outcome_of(run_id), list(wire.statements)
        assert undisturbed.run["status"] == "completed"
        assert problems_of(stage, run_id, undisturbed) == []
        failed, points = [], 0
        for at in range(len(statements)):
            for side in ("before", "after"):
                for for_good in (False, True):
                    cut = Cut(at, side, for_good)
                    run_id = stage.play(cut)
                    assert wire.has_cut, f"no cut {cut}: {statements[at]}"
                    points += 1
                    problems = problems_of(stage, run_id, undisturbed)
                    failed += [f"{cut} ({statements[at][:80]}): {problem}" for problem in problems]
    record_property("crash points", f"{len(statements)} statements, {points} crash points")
    assert failed == []
