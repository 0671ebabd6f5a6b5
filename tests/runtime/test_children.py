"""Children: a run that a step starts and waits for."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import (
    ChildConflict,
    ChildTimedOut,
    NotSerializable,
    RunCancelled,
    UnknownWorkflow,
    WorkflowError,
)
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime.children import OnCancel
from django_hookflow.runtime.receiving import receive
from django_hookflow.sql import load
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)


class Declined(Exception):
    """What a child's step raises."""


@pytest.fixture
def invoice() -> Workflow:
    """A child that completes, fails, waits for a signal or starts a child of its own, as its data say."""

    @workflow(workflow_id="tests.children.invoice")
    def invoice(ctx: WorkflowContext) -> Any:
        if "wait" in ctx.data:
            return ctx.step.wait_for_signal("paid")
        if "fail" in ctx.data:
            raise ValueError(ctx.data["fail"])
        if "deeper" in ctx.data:
            return ctx.step.child("inner", "tests.children.invoice", {"wait": True})
        return {"number": ctx.step.run("number", lambda: ctx.data.get("number", 1))}

    return invoice


@pytest.fixture
def order(invoice: Workflow) -> Workflow:
    @workflow(workflow_id="tests.children.order")
    def order(ctx: WorkflowContext) -> Any:
        ctx.step.run("before", lambda: None)
        options = ctx.step.options(timeout=ctx.data.get("timeout"))
        on_cancel: OnCancel = "abandon" if "abandon" in ctx.data else "cancel"
        data, run_id = ctx.data.get("invoice"), ctx.data.get("run_id")
        result = options.child("invoice", invoice, data, run_id=run_id, on_cancel=on_cancel)
        return [result, ctx.step.run("after", lambda: 2)]

    return order


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def child_of(run_id: str) -> WorkflowRun:
    return run_of(run_id).children.get()


def waits(run_id: str) -> list[tuple[str, str, str | None]]:
    return list(run_of(run_id).waits.values_list("step_id", "kind", "key"))


def relay_pass() -> None:
    Relay("inline", receive, concurrency=1).run_once()


def start_waiting(hookflow: Hookflow, order: Workflow, **data: Any) -> tuple[str, str]:
    """The ids of a run that waits for its child, and of the child, which waits for a signal."""
    run_id = order.trigger({"invoice": {"wait": True}, **data})
    hookflow.deliver(run_id)
    child = child_of(run_id)
    hookflow.deliver(child.run_id)
    return run_id, child.run_id


def end_and_die(hookflow: Hookflow, run_id: str) -> None:
    """Delivers the last turn of a run; whoever commits its end is gone before it has acted on that."""

    def die(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql == load("ending"):
            raise OperationalError("the worker is gone")
        return execute(sql, *arguments)

    announced = hookflow.announced(run_id)
    assert announced is not None
    with connection.execute_wrapper(die):
        assert receive("turn", run_of(run_id).workflow_id, run_id, announced.seq).answer == "completed"


def archive(run_id: str) -> int:
    """How many runs were archived: one, or none."""
    found = ask(
        "SELECT cardinality(retired.runs) AS number FROM django_hookflow_head AS head, LATERAL hookflow_retire(ARRAY[run_uid], "
        "ARRAY[last_seq], ARRAY[head_hash], hookflow_now()) AS retired WHERE run_id = %s",
        run_id,
    )
    return int(found[0]["number"])


def check() -> None:
    assert list(diff()) == []


class TestJoining:
    def test_a_child_is_started_with_the_wait_and_its_result_is_the_step_s(
        self, hookflow: Hookflow, order: Workflow
    ) -> None:
        run_id = order.trigger({"invoice": {"number": 7}}, run_id="order-1")
        assert hookflow.deliver(run_id).answer == "suspended"
        child = child_of(run_id)
        assert child.run_id.startswith("order-1:invoice-")
        assert (child.parent, child.parent_step, child.data) == (run_of(run_id), "invoice", {"number": 7})
        assert waits(run_id) == [("invoice", "child", child.run_id)]
        assert hookflow.announced(run_id) is None, "it may wait for years"
        origin = hookflow.events(child.run_id)[0].facts["origin"]
        assert origin == {
            "kind": "child",
            "parent": str(child.parent_id),
            "run_id": "order-1",
            "step": "invoice",
            "key": child.run_id,
        }
        assert hookflow.deliver(child.run_id).answer == "completed"
        assert (waits(run_id), OutboxMessage.objects.filter(kind="ended").count()) == ([], 0)
        assert hookflow.drive(run_id).result == [{"number": 7}, 2]
        check()

    def test_the_kit_drives_children(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order)
        assert (run.status, run.result) == ("completed", [{"number": 1}, 2])
        assert run.children.get().status == "completed"

    def test_a_stub_takes_the_place_of_a_child(self, hookflow: Hookflow, order: Workflow) -> None:
        hookflow.stub("invoice", {"number": 9})
        run = hookflow.run(order)
        assert (run.result, run.children.count()) == ([{"number": 9}, 2], 0)
        hookflow.stub("invoice", raises=ValueError("no"))
        assert hookflow.run(order).status == "failed"

    def test_without_who_committed_the_end_a_relay_joins(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(child_id).signal("paid", 9)
        end_and_die(hookflow, child_id)
        assert run_of(child_id).status == "completed"
        assert waits(run_id) == [("invoice", "child", child_id)]
        hookflow.advance(6)
        relay_pass()
        assert hookflow.drive(run_id).result == [9, 2]
        check()

    def test_its_end_twice_and_late_does_nothing(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order)
        child = run.children.get()
        before = len(hookflow.events(run.run_id))
        for _ in range(2):
            assert receive("ended", child.workflow_id, child.run_id, 5).answer == "finished"
        ask("SELECT hookflow_hand_on(%s, 1)", child.run_uid)
        receive("ended", child.workflow_id, child.run_id, 1)
        assert len(hookflow.events(run.run_id)) == before
        assert OutboxMessage.objects.count() == 0
        assert receive("ended", child.workflow_id, "nobody's", 1).answer == "unknown"

    def test_a_row_that_is_lost_is_made_again(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(child_id).signal("paid", 9)
        end_and_die(hookflow, child_id)
        ask("DELETE FROM django_hookflow_outbox")
        relay_pass()
        assert hookflow.drive(run_id).result == [9, 2]

    def test_a_replay_answers_the_same(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order)
        run.rewind(to_step="after")
        assert hookflow.drive(run.run_id).result == [{"number": 1}, 2]
        assert run.children.count() == 1


class TestFailures:
    def test_its_failure_is_the_step_s(self, hookflow: Hookflow, invoice: Workflow) -> None:
        causes: list[Any] = []

        @workflow(workflow_id="tests.children.careful")
        def careful(ctx: WorkflowContext) -> str:
            try:
                ctx.step.child("invoice", invoice, {"fail": "no credit"})
            except WorkflowError as error:
                causes.append(error.__cause__)
                return str(error)
            return ""

        run = hookflow.run(careful)
        child = run.children.get()
        assert run.result == f"step 'invoice' failed after 1 attempt: run {child.run_id!r}: ValueError: no credit"
        assert isinstance(causes[-1], ValueError)
        assert str(causes[-1]) == "no credit"

    def test_uncaught_it_fails_the_parent(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order, {"invoice": {"fail": "no"}})
        child = child_of(run.run_id)
        assert (run.status, run.error_type) == ("failed", "ValueError")
        assert child.run_id in run.error_message
        # The parent is replayed: a new child.
        DeadLetterEntry.objects.get(run_uid=run.run_uid).replay()
        assert hookflow.drive(run.run_id).status == "failed"
        assert run.children.count() == 2
        assert run.children.exclude(pk=child.pk).get().run_id != child.run_id
        check()

    def test_a_child_that_is_replayed_after_its_parent_went_on(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order, {"invoice": {"fail": "no"}})
        child = child_of(run.run_id)
        before = len(hookflow.events(run.run_id))
        DeadLetterEntry.objects.get(run_uid=child.run_uid).replay()
        assert hookflow.drive(child.run_id).status == "failed"
        assert len(hookflow.events(run.run_id)) == before
        assert OutboxMessage.objects.count() == 0

    def test_a_cancelled_child(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(child_id).cancel(reason="too dear", actor="ada")
        run = hookflow.drive(run_id)
        assert (run.status, run.error_type) == ("failed", "django_hookflow.exceptions.RunCancelled")
        assert "too dear" in run.error_message
        assert child_id in run.error_message
        assert str(RunCancelled("")) == "it was cancelled"

    def test_time_is_up(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order, timeout=60)
        hookflow.advance(61)
        assert hookflow.deliver(run_id).answer == "failed"
        assert run_of(run_id).error_type == f"django_hookflow.exceptions.{ChildTimedOut.__name__}"
        assert run_of(child_id).status == "cancelled"
        check()

    def test_nothing_is_written_of_what_cannot_be_started(self, hookflow: Hookflow, invoice: Workflow) -> None:
        bad: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"workflow": "tests.nobody"}, UnknownWorkflow, "no workflow is registered as 'tests.nobody'"),
            ({"workflow": print}, TypeError, "is not a workflow"),
            ({"data": [1]}, WorkflowError, "the data of a run must be a dict, not list"),
            ({"data": {"a": object()}}, NotSerializable, "cannot be recorded"),
            ({"run_id": ""}, ValueError, "run_id '' is empty"),
            ({"on_cancel": "explode"}, ValueError, "'cancel' or 'abandon'"),
        ]
        raised: list[Exception] = []

        @workflow(workflow_id="tests.children.bad")
        def asks(ctx: WorkflowContext) -> None:
            arguments = {"workflow": invoice, "data": None, **bad[ctx.data["which"]][0]}
            try:
                ctx.step.child("x", **arguments)
            except Exception as error:
                raised.append(error)
                raise

        for which, (_, kind, text) in enumerate(bad):
            run_id = asks.trigger({"which": which})
            hookflow.deliver(run_id)
            assert isinstance(raised[-1], kind)
            assert text in str(raised[-1])
            assert not any(event.step_id for event in hookflow.events(run_id))
        assert WorkflowRun.objects.filter(workflow_id=invoice.workflow_id).count() == 0


class TestIds:
    def test_a_run_that_the_step_has_not_started_is_refused(
        self, hookflow: Hookflow, order: Workflow, invoice: Workflow
    ) -> None:
        invoice.trigger(run_id="taken")
        run = hookflow.run(order, {"run_id": "taken"})
        assert (run.status, run.error_type) == ("failed", f"django_hookflow.exceptions.{ChildConflict.__name__}")
        assert "'taken' already exists and was not started by step 'invoice'" in run.error_message
        assert run_of("taken").parent is None
        check()

    def test_an_archived_run_s_id_too(self, hookflow: Hookflow, order: Workflow, invoice: Workflow) -> None:
        done = hookflow.run(invoice, run_id="taken")
        hookflow.advance(10)
        assert archive(done.run_id) == 1
        assert hookflow.run(order, {"run_id": "taken"}).status == "failed"

    def test_a_run_of_one_s_own_id_is_joined_again(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order, {"run_id": "mine"})
        assert run.result == [{"number": 1}, 2]
        run.rewind(to_step="invoice")
        run = hookflow.drive(run.run_id)
        assert (run.status, run.children.count()) == ("completed", 1)
        check()

    def test_a_rewound_step_starts_a_new_child_and_the_old_one_is_cancelled(
        self, hookflow: Hookflow, order: Workflow
    ) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(run_id).rewind(to_step="before")
        assert run_of(child_id).status == "cancelled"
        hookflow.deliver(run_id)
        second = run_of(run_id).children.exclude(run_id=child_id).get()
        assert waits(run_id) == [("invoice", "child", second.run_id)]
        assert "does not wait for it any more" in hookflow.events(child_id)[-1].payload["reason"]
        check()

    def test_long_ids(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order, run_id="ö" * 100)
        assert len(run.children.get().run_id.encode()) <= 200


class TestEnding:
    def test_cancelling_a_parent_cancels_all_that_are_under_it(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id = order.trigger({"invoice": {"deeper": True}})
        hookflow.drive(run_id)
        child = child_of(run_id)
        grandchild = child.children.get()
        assert grandchild.status == "running"
        run_of(run_id).cancel(actor="ada")
        assert [run_of(each.run_id).status for each in (child, grandchild)] == ["cancelled", "cancelled"]
        assert OutboxMessage.objects.count() == 0
        check()

    def test_but_not_one_that_was_let_go(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order, abandon=True)
        run_of(run_id).cancel()
        assert run_of(child_id).status == "running"
        run_of(child_id).signal("paid", 1)
        assert hookflow.drive(child_id).status == "completed"
        assert OutboxMessage.objects.count() == 0

    def test_a_parent_whose_time_is_up(self, hookflow: Hookflow, invoice: Workflow) -> None:
        @workflow(workflow_id="tests.children.limited", timeout=60)
        def limited(ctx: WorkflowContext) -> Any:
            return ctx.step.child("invoice", invoice, {"wait": True})

        run_id = limited.trigger()
        hookflow.drive(run_id)
        hookflow.advance(61)
        assert receive("deadline", limited.workflow_id, run_id, 1).answer == "failed"
        assert child_of(run_id).status == "cancelled"

    def test_a_parent_that_is_replayed_waits_for_what_is_cancelled_and_hears_of_it(
        self, hookflow: Hookflow, invoice: Workflow
    ) -> None:
        passes: list[int] = []

        @workflow(workflow_id="tests.children.wavering")
        def wavering(ctx: WorkflowContext) -> Any:
            ctx.step.run("before", passes.append, 1)
            return ctx.step.child("invoice", invoice, {"wait": True}, run_id="mine")

        run_id = wavering.trigger()
        hookflow.drive(run_id)
        run = run_of(run_id)
        ask(
            "SELECT hookflow_append(%s, NULL, '{run.failed}', '{NULL}', ARRAY['{\"error\": \"E\"}']::json[], '{NULL}', NULL)",
            run.pk,
        )
        receive("ended", wavering.workflow_id, run_id, 1)
        assert run_of("mine").status == "cancelled"
        DeadLetterEntry.objects.get().replay()
        assert waits(run_id) == [("invoice", "child", "mine")]
        relay_pass()
        assert hookflow.drive(run_id).error_type == f"django_hookflow.exceptions.{RunCancelled.__name__}"
        assert passes == [1]
        check()

    def test_a_paused_parent_keeps_waiting(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(run_id).pause()
        run_of(child_id).signal("paid", 5)
        hookflow.drive(child_id)
        assert run_of(run_id).status == "paused"
        run_of(run_id).resume()
        assert hookflow.drive(run_id).result == [5, 2]

    def test_a_child_that_nobody_acted_on_yet_is_not_archived(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(child_id).signal("paid", 3)
        end_and_die(hookflow, child_id)
        hookflow.advance(3)
        assert archive(child_id) == 0
        ask("DELETE FROM django_hookflow_outbox")
        assert archive(child_id) == 0, "it is waited for, whatever has become of the row that says so"
        relay_pass()
        assert hookflow.drive(run_id).result == [3, 2]
        assert archive(child_id) == 1
        assert run_of(run_id).children.count() == 0
        run_of(run_id).rewind(to_step="after")
        assert hookflow.drive(run_id).result == [3, 2]

    def test_a_child_that_is_redacted_after_its_parent_went_on(self, hookflow: Hookflow, order: Workflow) -> None:
        run = hookflow.run(order)
        assert run.children.get().redact(reason="asked to") > 0
        run.rewind(to_step="after")
        assert hookflow.drive(run.run_id).result == [{"number": 1}, 2]

    def test_a_child_that_is_redacted_before_has_no_result(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order)
        run_of(child_id).signal("paid", 3)
        end_and_die(hookflow, child_id)
        run_of(child_id).redact(reason="asked to")
        relay_pass()
        hookflow.advance(6)
        relay_pass()
        assert hookflow.drive(run_id).error_type == "django_hookflow.exceptions.RedactedHistory"

    def test_a_parent_that_is_archived(self, hookflow: Hookflow, order: Workflow) -> None:
        run_id, child_id = start_waiting(hookflow, order, abandon=True)
        run_of(run_id).cancel()
        hookflow.advance(10)
        assert archive(run_id) == 1
        assert run_of(child_id).parent is None
        run_of(child_id).signal("paid", 1)
        assert hookflow.drive(child_id).status == "completed"
        assert OutboxMessage.objects.count() == 0
