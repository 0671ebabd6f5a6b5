"""Runs from trigger to end, a delivery at a time."""

from __future__ import annotations

import datetime
import json
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import override_settings

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.events import log
from django_hookflow.exceptions import (
    DuplicateStep,
    MisplacedStep,
    NotSerializable,
    RunConflict,
    UnknownWorkflow,
    WorkflowError,
)
from django_hookflow.models import DeadLetterEntry, OutboxMessage, StepExecution, WorkflowRun
from django_hookflow.registry import InvalidWorkflow
from django_hookflow.runtime.turn import run_turn
from django_hookflow.testing import Hookflow
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def note(value: Any) -> Any:
    calls.append(value)
    return value


def enter(account: str, amount: int) -> int:
    LedgerEntry.objects.create(account=account, amount=amount)
    return amount


def types(hookflow: Hookflow, run_id: str) -> list[str]:
    return [event.type for event in hookflow.events(run_id)]


@workflow(workflow_id="tests.order")
def order(ctx: WorkflowContext) -> Any:
    first = ctx.step.run("validate", note, ctx.data["order_id"])
    ctx.step.sleep("wait", seconds=60)
    ctx.step.atomic("ledger", enter, "shop", 100)
    last = ctx.step.run("fulfil", note, (first, Decimal("1.10")))
    return {"status": "completed", "result": last}


def test_a_run_goes_from_trigger_to_end(hookflow: Hookflow) -> None:
    run = hookflow.run(order, {"order_id": "1"})
    assert run.status == "completed"
    assert run.result == {"status": "completed", "result": {"$tuple": ["1", {"$decimal": "1.10"}]}}
    assert run.completed_at is not None
    assert calls == ["1", ("1", Decimal("1.10"))]
    assert [entry.amount for entry in LedgerEntry.objects.all()] == [100]
    assert [step.step_id for step in run.step_executions.all()] == ["validate", "wait", "ledger", "fulfil"]
    assert types(hookflow, run.run_id) == [
        "run.triggered",
        "turn.started",
        "step.completed",
        "step.suspended",
        "step.completed",
        "turn.started",
        "step.completed",
        "step.completed",
        "run.completed",
    ]
    assert not OutboxMessage.objects.exists()


def test_the_first_execution_returns_what_a_replay_returns(hookflow: Hookflow) -> None:
    seen: list[Any] = []
    value = {"when": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), 3: (1, {4})}

    @workflow(workflow_id="tests.decoded")
    def decoded(ctx: WorkflowContext) -> None:
        seen.append(ctx.step.run("value", lambda: value))
        ctx.step.sleep("pause", seconds=1)

    hookflow.run(decoded)
    assert seen == [value, value]
    assert seen[0] is not value


def test_a_sleeping_run_does_not_wake_early(hookflow: Hookflow) -> None:
    run_id = order.trigger({"order_id": "2"})
    assert hookflow.deliver(run_id).answer == "suspended"
    early = hookflow.deliver(run_id)
    assert early.answer == "early"
    assert early.retry_after is not None
    assert 55 < early.retry_after <= 60
    assert WorkflowRun.objects.get(run_id=run_id).wake_at is not None
    hookflow.advance(61)
    assert hookflow.deliver(run_id).answer == "completed"


def test_duplicates_and_old_messages_are_answered_without_an_event(hookflow: Hookflow) -> None:
    run_id = order.trigger({"order_id": "3"})
    hookflow.deliver(run_id)
    before = types(hookflow, run_id)
    assert [hookflow.deliver(run_id, seq=1).answer for _ in range(50)] == ["stale"] * 50
    assert types(hookflow, run_id) == before
    hookflow.drive(run_id)
    after = types(hookflow, run_id)
    assert {hookflow.deliver(run_id, seq=seq).answer for seq in range(1, 12)} == {"finished"}
    assert types(hookflow, run_id) == after
    assert LedgerEntry.objects.count() == 1


def test_one_delivery_per_step_when_so_set(hookflow: Hookflow) -> None:
    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=1):
        run_id = order.trigger({"order_id": "4"})
        answers = []
        while (announced := hookflow.announced(run_id)) is not None:
            hookflow.advance(60)
            answers.append(hookflow.deliver(run_id, announced.seq).answer)
    # validate; wait begins; wait ends and ledger; fulfil; the end
    assert answers == ["suspended", "suspended", "suspended", "suspended", "completed"]
    assert calls == ["4", ("4", Decimal("1.10"))]


def test_a_turn_ends_when_its_budget_is_spent(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.slow")
    def slow(ctx: WorkflowContext) -> None:
        for i in range(4):
            ctx.step.run(f"step-{i}", hookflow.advance, 6)

    run_id = slow.trigger()
    assert hookflow.deliver(run_id).answer == "suspended"
    assert StepExecution.objects.count() == 2
    assert hookflow.drive(run_id).status == "completed"


def test_trigger_is_idempotent_by_run_id(hookflow: Hookflow) -> None:
    assert order.trigger({"order_id": "5"}, run_id="order-5") == "order-5"
    assert order.trigger({"order_id": "5"}, run_id="order-5") == "order-5"
    with pytest.raises(RunConflict, match="order-5"):
        order.trigger({"order_id": "6"}, run_id="order-5")
    assert WorkflowRun.objects.count() == 1
    assert len(hookflow.events("order-5")) == 1


@pytest.mark.parametrize("run_id", ["", "x" * 201, "a\nb", "a\x00"])
def test_a_run_id_that_cannot_be_used_is_refused_with_nothing_written(hookflow: Hookflow, run_id: str) -> None:
    with pytest.raises(WorkflowError, match="run_id"):
        order.trigger({"order_id": "7"}, run_id=run_id)
    assert not WorkflowRun.objects.exists()


def test_data_that_cannot_be_recorded_is_refused_with_nothing_written(hookflow: Hookflow) -> None:
    with pytest.raises(NotSerializable, match=r"data\['order'\]"):
        order.trigger({"order": object()})
    with pytest.raises(WorkflowError, match="a dict, not list"):
        order.trigger([1])  # type: ignore[arg-type]
    assert not WorkflowRun.objects.exists()


def test_a_step_that_fails_for_good_fails_the_run_and_leaves_a_dead_letter(hookflow: Hookflow) -> None:
    def charge() -> None:
        raise ValueError("card declined, password=hunter2hunter2")

    @workflow(workflow_id="tests.failing")
    def failing(ctx: WorkflowContext) -> None:
        ctx.step.run("validate", note, 1)
        ctx.step.run("charge", charge)

    run = hookflow.run(failing, {"order": 9})
    assert run.status == "failed"
    assert "card declined" in run.error_message
    entry = DeadLetterEntry.objects.get()
    assert (entry.workflow_id, entry.run_id, entry.step_id) == ("tests.failing", run.run_id, "charge")
    assert entry.payload == {"run_id": run.run_id, "workflow_id": "tests.failing", "data": {"order": 9}}
    assert entry.completed_steps == {"validate": 1}
    assert entry.attempt_count == 1
    assert "in charge" in entry.error_traceback
    assert "hunter2" not in entry.error_traceback + entry.error_message + run.error_message
    hookflow.deliver(run.run_id, seq=1)
    assert DeadLetterEntry.objects.count() == 1


def test_a_failed_step_can_be_caught_and_compensated_the_same_way_in_every_replay(hookflow: Hookflow) -> None:
    caught: list[WorkflowError] = []

    def charge() -> None:
        raise KeyError("card")

    @workflow(workflow_id="tests.compensating")
    def compensating(ctx: WorkflowContext) -> str:
        try:
            ctx.step.run("charge", charge)
        except WorkflowError as error:
            caught.append(error)
        ctx.step.sleep("cool-down", seconds=5)
        ctx.step.run("refund", note, "refund")
        return "refunded"

    run = hookflow.run(compensating)
    assert (run.status, run.result) == ("completed", "refunded")
    first, replayed = caught
    assert (first.step_id, first.attempts, first.error) == (replayed.step_id, replayed.attempts, replayed.error)
    assert str(first) == str(replayed)
    assert type(first.__cause__) is type(replayed.__cause__) is KeyError
    assert not DeadLetterEntry.objects.exists()


def test_a_retryable_failure_is_tried_again_later(hookflow: Hookflow) -> None:
    def flaky() -> str:
        calls.append("try")
        if len(calls) < 3:
            raise ConnectionError("unreachable")
        return "ok"

    @workflow(workflow_id="tests.flaky", retry=Retry(max_attempts=3, first_delay=10, jitter=0))
    def retrying(ctx: WorkflowContext) -> Any:
        return ctx.step.run("flaky", flaky)

    run = hookflow.run(retrying)
    assert (run.status, run.result) == ("completed", "ok")
    failed = [event.facts for event in hookflow.events(run.run_id) if event.type == "step.failed"]
    assert [(facts["attempt"], facts["retry_in"]) for facts in failed] == [(1, 10.0), (2, 40.0)]
    assert StepExecution.objects.get().attempts == 3


def test_a_run_whose_retries_are_used_up_fails(hookflow: Hookflow) -> None:
    def down() -> None:
        raise TimeoutError("no answer")

    @workflow(workflow_id="tests.down")
    def retrying(ctx: WorkflowContext) -> None:
        ctx.step.run("down", down)

    run = hookflow.run(retrying)
    assert run.status == "failed"
    assert DeadLetterEntry.objects.get().attempt_count == 4


def test_an_atomic_step_that_fails_leaves_no_write(hookflow: Hookflow) -> None:
    def enter_and_fail() -> None:
        enter("shop", 1)
        raise ValueError("no")

    @workflow(workflow_id="tests.atomic_failing")
    def failing(ctx: WorkflowContext) -> None:
        ctx.step.atomic("ledger", enter_and_fail)

    assert hookflow.run(failing).status == "failed"
    assert not LedgerEntry.objects.exists()


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "make",
    [
        lambda: float("nan"),
        lambda: "\x00",
        lambda: "\ud800",
        lambda: object(),
        lambda: "x" * 50_000_000,
        lambda: nested(10_000),
    ],
    ids=["NaN", "NUL", "a lone surrogate", "an object", "50 MB", "10,000 levels"],
)
def test_a_result_that_cannot_be_recorded_fails_the_step_once(hookflow: Hookflow, make: Any) -> None:
    """Scenario 11."""

    @workflow(workflow_id="tests.unrecordable")
    def unrecordable(ctx: WorkflowContext) -> None:
        ctx.step.run("bad", lambda: {"deep": [make()], "calls": note(1)})

    run = hookflow.run(unrecordable)
    assert run.status == "failed"
    assert run.error_message.startswith("step 'bad' failed after 1 attempt: django_hookflow.exceptions.NotSerializable")
    assert "result['deep'][0]" in run.error_message or "1,048,576" in run.error_message
    assert calls == [1]
    assert types(hookflow, run.run_id).count("step.failed") == 1


def raises_in_workflow(hookflow: Hookflow, body: Any, name: str) -> list[Any]:
    """Runs a workflow that catches everything; what it caught."""
    caught: list[Any] = []

    @workflow(workflow_id=f"tests.misuse.{name}")
    def misusing(ctx: WorkflowContext) -> None:
        try:
            body(ctx)
        except Exception as error:
            caught.append(error)
            raise

    assert hookflow.run(misusing).status == "failed"
    return caught


def test_a_repeated_step_id_is_an_error(hookflow: Hookflow) -> None:
    """Scenario 15."""

    def repeat(ctx: WorkflowContext) -> None:
        ctx.step.run("same", note, 1)
        ctx.step.run("same", note, 2)

    [error] = raises_in_workflow(hookflow, repeat, "repeat")
    assert isinstance(error, DuplicateStep)
    assert calls == [1]


def test_a_step_inside_a_step_is_an_error(hookflow: Hookflow) -> None:
    """Scenario 15."""

    def nest(ctx: WorkflowContext) -> None:
        ctx.step.run("outer", lambda: ctx.step.run("inner", note, 1))

    [error] = raises_in_workflow(hookflow, nest, "nest")
    assert isinstance(error.__cause__, MisplacedStep)
    assert "inside step 'outer'" in str(error)
    assert calls == []


def test_a_step_in_another_thread_is_an_error(hookflow: Hookflow) -> None:
    """Scenario 15."""
    caught: list[BaseException] = []

    def thread(ctx: WorkflowContext) -> None:
        def work() -> None:
            try:
                ctx.step.run("elsewhere", note, 1)
            except BaseException as error:
                caught.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        raise caught[0]

    [error] = raises_in_workflow(hookflow, thread, "thread")
    assert isinstance(error, MisplacedStep)
    assert calls == []


def test_a_workflow_that_swallows_everything_does_no_damage(hookflow: Hookflow) -> None:
    """Scenario 15."""
    late: list[BaseException] = []

    @workflow(workflow_id="tests.swallowing")
    def swallowing(ctx: WorkflowContext) -> str:
        try:
            ctx.step.sleep("nap", seconds=5)
        except BaseException:
            try:
                ctx.step.run("after", note, 1)
            except BaseException as error:
                late.append(error)
        return "done"

    run = hookflow.run(swallowing)
    assert run.status == "completed"
    [error] = late
    assert isinstance(error, MisplacedStep)
    assert "its turn was over" in str(error)
    assert types(hookflow, run.run_id).count("run.completed") == 1


def test_a_workflow_that_swallows_the_loss_of_its_turn_is_handed_back(hookflow: Hookflow) -> None:
    """Scenario 15."""

    @workflow(workflow_id="tests.swallowing_loss")
    def swallowing(ctx: WorkflowContext) -> str:
        try:
            ctx.step.sleep("nap", seconds=50)
        except BaseException:
            return "did not wait"
        ctx.step.run("after", note, "after")
        return "waited"

    run_id = swallowing.trigger()
    hookflow.deliver(run_id)
    QuerySet(OutboxMessage).update(due_at=WorkflowRun.objects.get(run_id=run_id).created_at)
    before = types(hookflow, run_id)
    assert hookflow.deliver(run_id).answer == "lost"
    assert types(hookflow, run_id) == [*before, "turn.started"]
    hookflow.advance(51)
    run = hookflow.drive(run_id)
    assert (run.status, run.result, calls) == ("completed", "waited", ["after"])
    assert "turn.abandoned" not in types(hookflow, run_id)


def test_a_step_whose_kind_changes_diverges(hookflow: Hookflow) -> None:
    """Scenario 14."""
    changed = False

    @workflow(workflow_id="tests.changing_kind")
    def changing(ctx: WorkflowContext) -> None:
        if changed:
            ctx.step.atomic("work", note, 1)
        else:
            ctx.step.run("work", note, 1)
        ctx.step.sleep("nap", seconds=1)

    run_id = changing.trigger()
    hookflow.deliver(run_id)
    changed = True
    run = hookflow.drive(run_id)
    assert run.status == "diverged"
    assert run.error_message == "step 'work' is recorded as 'run', but the code calls it as 'atomic'"
    assert calls == [1]
    changed = False
    run.resume()
    assert hookflow.drive(run_id).status == "completed"


@pytest.mark.parametrize(
    ("steps_after", "diverged"),
    [
        (["a", "b", "c"], False),
        (["a", "b", "c", "d"], False),
        (["b", "a", "c"], False),
        (["a", "x", "b", "c"], True),
        (["a", "c"], True),
        (["a", "B", "c"], True),
    ],
)
def test_changed_code_is_safe_or_diverges(hookflow: Hookflow, steps_after: list[str], diverged: bool) -> None:
    """Scenario 14: recorded are a and b; what a run still has to do may change, what it has done may not go unasked."""
    steps = ["a", "b", "c"]

    @workflow(workflow_id="tests.changing")
    def changing(ctx: WorkflowContext) -> None:
        for step_id in steps:
            ctx.step.run(step_id, note, step_id)

    with override_settings(DJANGO_HOOKFLOW_STEPS_PER_TURN=2):
        run_id = changing.trigger()
        hookflow.deliver(run_id)
    assert calls == ["a", "b"]
    before = len(hookflow.events(run_id))
    steps = steps_after
    result = hookflow.deliver(run_id)
    run = WorkflowRun.objects.get(run_id=run_id)
    if diverged:
        assert (result.answer, run.status) == ("diverged", "diverged")
        assert types(hookflow, run_id)[before:] == ["turn.started", "run.diverged"]
        assert calls == ["a", "b"]
        assert "is recorded, but the code did not call it" in run.error_message
    else:
        assert run.status == "completed"


def test_a_workflow_that_branches_on_chance_diverges_instead_of_doing_both(hookflow: Hookflow) -> None:
    """Scenario 15."""
    chance = iter(["heads", "tails"])

    @workflow(workflow_id="tests.chance")
    def gambling(ctx: WorkflowContext) -> None:
        side = next(chance)
        ctx.step.run(f"pay-{side}", note, side)
        ctx.step.sleep("nap", seconds=1)

    run = hookflow.run(gambling)
    assert run.status == "diverged"
    assert calls == ["heads"]
    assert "step 'pay-heads' is recorded" in run.error_message


def test_a_workflow_that_is_not_known_is_refused_before_anything_is_touched(hookflow: Hookflow) -> None:
    run_id = order.trigger({"order_id": "8"})
    with pytest.raises(UnknownWorkflow, match="no.such.workflow"):
        run_turn("no.such.workflow", run_id, 1)
    assert types(hookflow, run_id) == ["run.triggered"]


def test_a_run_of_another_workflow_is_unknown_to_this_one(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.other")
    def other(ctx: WorkflowContext) -> None: ...

    run_id = order.trigger({"order_id": "8"})
    assert run_turn("tests.other", run_id, 1).answer == "unknown"
    assert types(hookflow, run_id) == ["run.triggered"]


def test_a_turn_whose_run_was_taken_over_records_nothing_and_rolls_back(hookflow: Hookflow) -> None:
    """Scenario 6, without processes: another worker finishes the run while this one is in the middle of a step."""
    results: list[Any] = []

    @workflow(workflow_id="tests.stalling")
    def stalling(ctx: WorkflowContext) -> None:
        def stall() -> None:
            enter("shop", 1)
            if not results:
                results.append(None)
                worker = threading.Thread(target=elsewhere, args=(ctx.run_id,))
                worker.start()
                worker.join()

        ctx.step.atomic("ledger", stall)

    def elsewhere(run_id: str) -> None:
        from django.db import connection

        hookflow.advance(61)
        results.append(hookflow.deliver(run_id))
        connection.close()

    run_id = stalling.trigger()
    assert hookflow.deliver(run_id).answer == "lost"
    assert results[1].answer == "completed"
    assert LedgerEntry.objects.count() == 1
    assert types(hookflow, run_id) == [
        "run.triggered",
        "turn.started",
        "turn.abandoned",
        "turn.started",
        "step.completed",
        "run.completed",
    ]


def test_a_step_in_flight_is_recorded_although_an_operator_spoke_meanwhile(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.interrupted")
    def interrupted(ctx: WorkflowContext) -> None:
        def speak() -> str:
            run = WorkflowRun.objects.get(run_id=ctx.run_id)
            log.append(run.run_uid, None, [log.NewEvent("run.noted", json.dumps({}))], actor="operator")
            return "done"

        ctx.step.run("work", speak)

    run_id = interrupted.trigger()
    assert hookflow.deliver(run_id).answer == "completed"
    assert types(hookflow, run_id)[2:] == ["run.noted", "step.completed", "run.completed"]


def test_an_id_belongs_to_one_function() -> None:
    @workflow(workflow_id="tests.taken")
    def one(ctx: WorkflowContext) -> None: ...

    def other(ctx: WorkflowContext) -> None: ...

    with pytest.raises(InvalidWorkflow, match="taken by"):
        workflow(workflow_id="tests.taken")(other)
    with pytest.raises(InvalidWorkflow, match="cannot be used in a URL"):
        workflow(workflow_id="a/b")(other)
