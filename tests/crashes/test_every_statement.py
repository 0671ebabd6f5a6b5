"""Scenario 21: a crash at every single statement of a run, before and after it, then redelivery until done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import override_settings

from django_hookflow.delivery.relay import Relay
from django_hookflow.models import Lease, OutboxMessage, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.turn import beginning, run_turn
from django_hookflow.testing import Hookflow
from tests.crashes.comparison import Outcome, failures_by_cut, outcome_of
from tests.crashes.evidence import evidence_against
from tests.crashes.order import bank, order
from tests.crashes.outside import PaymentService
from tests.crashes.wire import Cut, Side, Wire

pytestmark = pytest.mark.django_db(transaction=True)

ENDED = ("completed", "failed", "cancelled")
SIDES: tuple[Side, ...] = ("before", "after")
#: What becomes of the worker whose connection is cut: whether the cut is for good.
RECONNECTS, DIES = False, True
Deliver = Callable[[OutboxMessage, str], None]


def deliver_message(announced: OutboxMessage, run_id: str) -> None:
    """A delivery as the webhook makes it, on a connection of its own."""
    run_turn(order.workflow_id, run_id, announced.seq)


def deliver_by_relay(announced: OutboxMessage, run_id: str) -> None:
    """A pass of the relay, which runs the turn itself: its own statements are cut too."""
    Relay("inline", receive, concurrency=1, beginning=beginning).run_once()


@dataclass
class Stage:
    """What a run needs to be played: time, deliveries, the world outside, and an operator who answers when asked."""

    hookflow: Hookflow
    wire: Wire
    payments: PaymentService
    deliver: Deliver
    fresh_sessions: bool = True

    def play(self, cut: Cut | None = None) -> str:
        """A fresh run, cut at one place, delivered until it ends; its id."""
        self.wire.start_over(cut)
        connection.close()  # what a session prepares depends on how long it has been kept
        run_id = order.trigger({"amount": 100, "payments": self.payments.url})
        self._signal(run_id, "hint")  # before anybody waits for it
        for _ in range(40):
            run = WorkflowRun.objects.get(run_id=run_id)
            if run.status in ENDED:
                return run_id
            if run.status == "in_doubt":
                run.resolve("wire", result=bank.made_sure(run_id), actor="operator", reason="asked the bank")
                continue
            if run.waits.filter(kind="signal").exists():
                self._signal(run_id, "approval")
                continue
            self._take_a_turn(run)
        raise AssertionError(f"run {run_id} is stuck: {WorkflowRun.objects.get(run_id=run_id)}")

    def _signal(self, run_id: str, name: str) -> None:
        """Who gets no answer sends it once more, with the same id."""
        for _ in range(2):
            if self.fresh_sessions:
                connection.close()
            with self.wire.watched():
                try:
                    WorkflowRun.objects.get(run_id=run_id).signal(name, f"{name} of {run_id}", id=name, actor="ada")
                    return
                except (OperationalError, InterfaceError):
                    pass
                finally:
                    if self.wire.has_cut:
                        connection.close()
        raise AssertionError(f"{name} was not sent")

    def _take_a_turn(self, run: WorkflowRun) -> None:
        announced = OutboxMessage.objects.get(run_uid=run.run_uid)
        self._wait_for(announced)
        if self.fresh_sessions:
            connection.close()  # as Django does after each request: the beginning of a session is a statement too
        with self.wire.watched():
            try:
                self.deliver(announced, run.run_id)
            except (OperationalError, InterfaceError):
                pass  # the request ends in a 500, or the relay's pass fails: there will be others
        if self.wire.has_cut:
            connection.close()

    def _wait_for(self, announced: OutboxMessage) -> None:
        """Moves time to where a worker may begin: the turn is due and sent, the lease of a dead worker has run out."""
        lease = Lease.objects.filter(run_uid=announced.run_uid).first()
        begins = [announced.due_at or announced.announced_at, *([lease.expires_at] if lease else [])]
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
    found += evidence_against(WorkflowRun.objects.get(run_id=run_id))
    requests = stage.payments.requests_of(run_id)
    if len(requests) != 1 or any(body != bodies[0] for bodies in requests.values() for body in bodies):
        found.append(f"charged under {len(requests)} keys: {requests}")
    if bank.transfers.count(run_id) != 1:
        found.append(f"{bank.transfers.count(run_id)} transfers")
    if failures_by_cut(run_id) > 1:
        found.append(f"{failures_by_cut(run_id)} attempts failed for one cut")
    return found


@pytest.mark.parametrize(
    ("deliver", "steps_per_turn", "workers"),
    [
        pytest.param(deliver_message, None, [RECONNECTS, DIES], id="message"),
        pytest.param(deliver_message, 1, [DIES], id="message-per-step"),
        pytest.param(deliver_by_relay, None, [DIES], id="relay"),
    ],
)
def test_a_crash_at_every_statement(
    hookflow: Hookflow,
    wire: Wire,
    payments: PaymentService,
    deliver: Deliver,
    steps_per_turn: int | None,
    workers: list[bool],
    record_property: Callable[[str, object], None],
) -> None:
    stage = Stage(hookflow, wire, payments, deliver, fresh_sessions=steps_per_turn is None)
    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=steps_per_turn):
        run_id = stage.play()
        undisturbed, statements = outcome_of(run_id), list(wire.statements)
        assert undisturbed.run["status"] == "completed"
        assert problems_of(stage, run_id, undisturbed) == []
        cuts = [Cut(at, side, for_good) for at in range(len(statements)) for side in SIDES for for_good in workers]
        failed = []
        for cut in cuts:
            run_id = stage.play(cut)
            assert wire.has_cut, f"nothing was cut {cut}: {statements[cut.at]}"
            failed += [
                f"{cut} ({statements[cut.at]:.80}): {problem}" for problem in problems_of(stage, run_id, undisturbed)
            ]
    record_property("crash points", f"{len(statements)} statements, {len(cuts)} crash points")
    assert failed == []
