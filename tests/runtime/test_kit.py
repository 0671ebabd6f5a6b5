"""The kit that users test their workflows with, as they would use it: in Django's TestCase, and in pytest."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import TestCase

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import DeadLetterEntry
from django_hookflow.testing import Hookflow, NotEnding
from tests.testapp.models import LedgerEntry


def charge(order_id: str) -> dict[str, str]:
    raise AssertionError("a test does not charge anybody")


@workflow(workflow_id="tests.kit.order")
def order(ctx: WorkflowContext) -> Any:
    charged = ctx.step.run("charge", charge, ctx.data["order_id"])
    ctx.step.sleep("wait", seconds=86_400)
    ctx.step.atomic("ledger", lambda: LedgerEntry.objects.create(account="shop", amount=1).amount)
    return charged["id"]


@workflow(workflow_id="tests.kit.endless")
def endless(ctx: WorkflowContext) -> None:
    for day in range(1000):
        ctx.step.sleep(f"day-{day}", seconds=86_400)


class OrderTests(TestCase):
    """TestCase wraps each test in a transaction; the kit works in it, and nothing is left behind."""

    def test_order(self) -> None:
        with Hookflow() as hookflow:
            hookflow.stub("charge", {"id": "ch_1"})
            run = hookflow.run(order, {"order_id": "1"})
            assert (run.status, run.result) == ("completed", "ch_1")
            assert hookflow.history(run.run_id) == [
                "run.triggered",
                "step.completed charge",
                "step.suspended wait",
                "step.completed wait",
                "step.completed ledger",
                "run.completed",
            ]

    def test_refused_card(self) -> None:
        with Hookflow() as hookflow:
            hookflow.stub("charge", raises=ValueError("refused"))
            run = hookflow.run(order, {"order_id": "2"})
            assert run.status == "failed"
            assert "refused" in run.error_message
            assert not LedgerEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_lost_in_a_step_is_recovered_from(hookflow: Hookflow, when: Any) -> None:
    hookflow.stub("charge", {"id": "ch_1"})
    hookflow.crash("ledger", when=when)
    run_id = order.trigger({"order_id": "3"}, run_id="order-3")
    hookflow.deliver(run_id)
    hookflow.advance(86_401)
    assert hookflow.deliver(run_id).answer == "crashed"
    assert not LedgerEntry.objects.exists()
    assert hookflow.deliver(run_id).answer == "busy"
    assert hookflow.drive(run_id).status == "completed"
    assert LedgerEntry.objects.count() == 1
    assert "turn.abandoned" in [event.type for event in hookflow.events(run_id)]


@pytest.mark.django_db(transaction=True)
def test_a_run_that_takes_every_worker_down_fails_in_the_end(hookflow: Hookflow) -> None:
    hookflow.crash("charge", when="before", times=1000)
    run = hookflow.run(order, {"order_id": "5"})
    assert run.status == "failed"
    assert run.error_message.startswith("10 turns in a row made no progress: their workers were lost, or")
    [entry] = DeadLetterEntry.objects.all()
    hookflow.stub("charge", {"id": "ch_1"})
    entry.replay()
    assert hookflow.drive(run.run_id).status == "completed"


@pytest.mark.django_db(transaction=True)
def test_outside_the_kit_nothing_is_stubbed_and_time_is_the_real_one() -> None:
    with Hookflow() as hookflow:
        hookflow.stub("charge", {"id": "ch_1"})
        hookflow.advance(1_000_000)
    with Hookflow() as hookflow:
        run = hookflow.run(order, {"order_id": "4"})
        assert run.status == "failed"
    with connection.cursor() as cursor:
        cursor.execute("SELECT hookflow_now() - clock_timestamp() < interval '1 s'")
        assert cursor.fetchone() == (True,)


@pytest.mark.django_db(transaction=True)
def test_a_run_that_does_not_end_is_told(hookflow: Hookflow) -> None:
    with pytest.raises(NotEnding, match="has not ended after 5 turns"):
        hookflow.drive(endless.trigger(), turns=5)


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["pending", "running", "completed", "failed", "cancelled", "paused"])
def test_a_run_is_made_as_if_it_had_got_so_far(hookflow: Hookflow, status: Any) -> None:
    run = hookflow.make_run("shop.made", run_id="order-1", status=status, data={"order": 1})

    assert (run.run_id, run.workflow_id, run.status, run.data) == ("order-1", "shop.made", status, {"order": 1})
    assert (run.completed_at is not None) == (status in ("completed", "failed", "cancelled"))
    assert (hookflow.announced("order-1") is not None) == (status in ("pending", "running"))
    assert DeadLetterEntry.objects.count() == (status == "failed")


@pytest.mark.django_db
def test_a_made_run_has_steps_a_result_or_an_error_and_a_log_that_holds(hookflow: Hookflow) -> None:
    done = hookflow.make_run("shop.made", steps={"charge": {"id": 7}, "mail": None}, result=Decimal("1.5"))
    failed = hookflow.make_run("shop.made", status="failed", steps={"charge": 1}, error=OSError("no stock"))

    assert list(done.step_executions.values_list("step_id", "result")) == [("charge", {"id": 7}), ("mail", None)]
    entry = DeadLetterEntry.objects.get()
    assert (failed.error_message, entry.error_type, entry.error_message) == ("no stock", "OSError", "no stock")
    assert entry.completed_steps == {"charge": 1}
    call_command("hookflow_verify")
    call_command("hookflow_rebuild", check=True)


@pytest.mark.django_db
def test_a_made_run_goes_on_from_its_steps_where_there_is_code(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.kit.made")
    def made(ctx: WorkflowContext) -> Any:
        return ctx.step.run("one", int) + ctx.step.run("two", int, "2")

    run = hookflow.make_run("tests.kit.made", status="running", steps={"one": 40})

    assert hookflow.drive(run.run_id).result == 42
