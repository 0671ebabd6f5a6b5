"""Signals: each is taken by one wait, in the order of the log, whenever it comes."""

from __future__ import annotations

import datetime
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import (
    InvalidText,
    NotSerializable,
    OperationRefused,
    SignalTimedOut,
    UnknownRun,
    WorkflowError,
)
from django_hookflow.models import DeadLetterEntry, StepExecution, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def asking() -> Workflow:
    @workflow(workflow_id="tests.signals.asking")
    def asking(ctx: WorkflowContext) -> Any:
        ctx.step.run("before", lambda: None)
        return ctx.step.wait_for_signal("approval", timeout=ctx.data.get("timeout"))

    return asking


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def waits(run_id: str) -> list[tuple[str, str | None]]:
    return list(run_of(run_id).waits.filter(step_id__gt="").values_list("step_id", "key"))


def types_of(hookflow: Hookflow, run_id: str) -> list[str]:
    return [event.type for event in hookflow.events(run_id)]


def check(hookflow: Hookflow) -> None:
    assert list(diff()) == []


class TestTaking:
    def test_a_run_waits_until_the_signal_comes(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        assert hookflow.deliver(run_id).answer == "suspended"
        assert waits(run_id) == [("approval", "approval")]
        assert ask("SELECT FROM django_hookflow_outbox") == [], "nothing is announced: it may wait for years"
        assert run_of(run_id).signal("approval", {"by": "ada", "amount": Decimal("1.50")}, actor="ada") is True
        assert waits(run_id) == []
        run = hookflow.drive(run_id)
        assert run.status == "completed"
        assert run.result == {"by": "ada", "amount": {"$decimal": "1.50"}}
        received, completed = [e for e in hookflow.events(run_id) if e.type in ("signal.received", "step.completed")][
            1:
        ]
        assert (received.actor, received.facts) == ("ada", {"name": "approval"})
        assert (completed.step_id, completed.facts["by"]) == ("approval", received.seq)
        assert StepExecution.objects.get(step_id="approval").kind == "signal"

    def test_one_that_came_before_is_kept(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        run_of(run_id).signal("approval", 7)
        run_of(run_id).signal("other", 8)
        run = hookflow.drive(run_id)
        assert (run.status, run.result) == ("completed", 7)
        assert types_of(hookflow, run_id).count("turn.started") == 1
        assert "step.suspended" not in types_of(hookflow, run_id)

    def test_each_is_taken_once_in_the_order_of_the_log(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.signals.several")
        def several(ctx: WorkflowContext) -> list[Any]:
            return [ctx.step.wait_for_signal(f"answer-{i}", name="answer") for i in range(4)]

        run_id = several.trigger()
        run = run_of(run_id)
        run.signal("answer", 0)
        run.signal("answer", 1)
        hookflow.deliver(run_id)
        assert waits(run_id) == [("answer-2", "answer")]
        run.signal("answer", 2)
        run.signal("answer", 3)
        assert hookflow.drive(run_id).result == [0, 1, 2, 3]

    def test_what_comes_while_a_turn_works_is_not_missed(self, hookflow: Hookflow) -> None:

        @workflow(workflow_id="tests.signals.meanwhile")
        def meanwhile(ctx: WorkflowContext) -> Any:
            ctx.step.run("work", send, ctx.run_id)
            return ctx.step.wait_for_signal("approval")

        def send(run_id: str) -> None:
            def in_another_thread() -> None:
                run_of(run_id).signal("approval", "yes")
                connection.close()

            thread = threading.Thread(target=in_another_thread)
            thread.start()
            thread.join()

        run_id = meanwhile.trigger()
        assert hookflow.deliver(run_id).answer == "completed"
        assert run_of(run_id).result == "yes"

    def test_what_comes_at_the_moment_of_waiting_is_not_missed(self, hookflow: Hookflow) -> None:
        """The turn that is about to wait does not know of it: it is refused, and the next one takes it at once."""
        passes: list[int] = []

        @workflow(workflow_id="tests.signals.moment")
        def moment(ctx: WorkflowContext) -> Any:
            passes.append(1)
            if len(passes) == 1:
                run_of(ctx.run_id).signal("approval", "yes")
            return ctx.step.wait_for_signal("approval")

        run_id = moment.trigger()
        result = hookflow.deliver(run_id)
        assert (result.answer, result.retry_after) == ("lost", 0.0)
        assert hookflow.deliver(run_id).answer == "completed"
        assert (run_of(run_id).result, len(passes)) == ("yes", 2)

    def test_null_is_a_value(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger({"timeout": 60})
        hookflow.deliver(run_id)
        asking.signal(run_id, "approval")
        run = hookflow.drive(run_id)
        assert (run.status, run.result) == ("completed", None)

    def test_a_rewind_gives_back_what_was_taken(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        hookflow.deliver(run_id)
        asking.signal(run_id, "approval", "once")
        hookflow.drive(run_id)
        run_of(run_id).rewind(to_step="before")
        assert hookflow.drive(run_id).result == "once"


class TestTime:
    def test_when_the_time_is_up_it_raises(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger({"timeout": 60})
        hookflow.deliver(run_id)
        wake_at = run_of(run_id).wake_at
        assert wake_at is not None
        hookflow.advance(59)
        assert hookflow.deliver(run_id).answer == "early"
        hookflow.advance(2)
        assert hookflow.deliver(run_id).answer == "failed"
        run = run_of(run_id)
        assert run.error_type == "django_hookflow.exceptions.SignalTimedOut"
        assert DeadLetterEntry.objects.get().step_id == "approval"
        DeadLetterEntry.objects.get().replay()
        hookflow.deliver(run_id)
        assert waits(run_id) == [("approval", "approval")], "a replay waits again"
        asking.signal(run_id, "approval", 1)
        assert hookflow.drive(run_id).result == 1

    def test_or_it_is_the_default(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.signals.default")
        def patient(ctx: WorkflowContext) -> list[Any]:
            first = ctx.step.wait_for_signal("first", timeout=60, default=None)
            try:
                ctx.step.wait_for_signal("second", timeout=60)
            except SignalTimedOut as error:
                return [first, error.step_id, isinstance(error, WorkflowError)]
            return []

        run = hookflow.run(patient)
        assert run.status == "completed"
        assert run.result == [None, "second", True]

    def test_the_order_of_the_log_decides_between_both(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger({"timeout": 60})
        hookflow.deliver(run_id)
        hookflow.advance(120)
        assert asking.signal(run_id, "approval", "late, and before anybody looked") is True
        assert hookflow.drive(run_id).status == "completed"

    @pytest.mark.parametrize(("own", "seconds"), [(None, 60), (30, 30), (0, 0)])
    def test_the_timeout_of_the_options_counts_where_the_wait_has_none(
        self, hookflow: Hookflow, own: float | None, seconds: float
    ) -> None:
        @workflow(workflow_id="tests.signals.options")
        def waiting(ctx: WorkflowContext) -> Any:
            return ctx.step.options(timeout=60).wait_for_signal("a", timeout=own, default="late")

        run = hookflow.run(waiting)
        assert run.result == "late"
        [waited] = [event for event in hookflow.events(run.run_id) if event.type == "step.suspended"]
        assert waited.facts["seconds"] == seconds

    def test_a_signal_after_the_timeout_is_kept_for_the_next_wait(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.signals.late")
        def late(ctx: WorkflowContext) -> list[Any]:
            first = ctx.step.wait_for_signal("a", name="s", timeout=60, default="none")
            return [first, ctx.step.wait_for_signal("b", name="s")]

        run_id = late.trigger()
        hookflow.deliver(run_id)
        hookflow.advance(61)
        hookflow.deliver(run_id)
        assert waits(run_id) == [("b", "s")]
        late.signal(run_id, "s", 2)
        assert hookflow.drive(run_id).result == ["none", 2]


class TestSending:
    def test_the_same_id_twice_is_one_signal(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        run = run_of(run_id)
        assert run.signal("approval", 1, id="click-1") is True
        assert run.signal("approval", 2, id="click-1") is False
        assert run.signal("other", 3, id="click-1") is False
        assert run.signal("approval", 4, id="click-2") is True
        assert types_of(hookflow, run_id).count("signal.received") == 2
        assert hookflow.drive(run_id).result == 1
        assert run_of(run_id).signal("approval", 5, id="click-1") is False, "also once the run is over"

    def test_the_same_id_from_many_at_once(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        hookflow.deliver(run_id)
        answers: list[bool] = []
        together = threading.Barrier(8)

        def send(number: int) -> None:
            together.wait(30)
            answers.append(run_of(run_id).signal("approval", number, id="once"))
            connection.close()

        threads = [threading.Thread(target=send, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [False] * 7 + [True]
        assert hookflow.drive(run_id).status == "completed"
        check(hookflow)

    def test_it_is_sent_if_the_transaction_commits(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        hookflow.deliver(run_id)
        with transaction.atomic():
            asking.signal(run_id, "approval", "never")
            transaction.set_rollback(True)
        assert waits(run_id) == [("approval", "approval")]
        assert "signal.received" not in types_of(hookflow, run_id)
        with transaction.atomic():
            asking.signal(run_id, "approval", "yes")
        assert hookflow.drive(run_id).result == "yes"

    def test_a_run_that_is_over_or_unknown_is_refused(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_id = asking.trigger()
        run_of(run_id).cancel()
        with pytest.raises(OperationRefused, match="cannot signal run .*: it is cancelled"):
            run_of(run_id).signal("approval")
        with pytest.raises(UnknownRun):
            asking.signal("nobody", "approval")
        other = workflow(workflow_id="tests.signals.other")(lambda ctx: None)
        with pytest.raises(UnknownRun):
            other.signal(run_id, "approval")
        assert "signal.received" not in types_of(hookflow, run_id)

    def test_many_runs_at_once(self, hookflow: Hookflow, asking: Workflow) -> None:
        run_ids = [asking.trigger() for _ in range(3)]
        run_of(run_ids[0]).cancel()
        assert WorkflowRun.objects.filter(workflow_id=asking.workflow_id).signal("approval", 1, id="x") == 2
        assert WorkflowRun.objects.filter(workflow_id=asking.workflow_id).signal("approval", 1, id="x") == 0
        assert [hookflow.drive(run_id).status for run_id in run_ids[1:]] == ["completed"] * 2

    @pytest.mark.parametrize(
        "arguments",
        [{"name": ""}, {"name": "a\0"}, {"name": "x" * 256}, {"id": ""}, {"id": "\ud800"}, {"actor": "a\nb"}],
    )
    def test_what_the_log_cannot_hold_is_refused(
        self, hookflow: Hookflow, asking: Workflow, arguments: dict[str, Any]
    ) -> None:
        run_id = asking.trigger()
        with pytest.raises(InvalidText):
            run_of(run_id).signal(**{"name": "approval", **arguments})
        with pytest.raises(NotSerializable):
            run_of(run_id).signal("approval", object())
        assert "signal.received" not in types_of(hookflow, run_id)

    def test_values_come_back_equal(self, hookflow: Hookflow) -> None:
        value = {"when": datetime.date(2026, 2, 3), "what": [1, 2.5, "ä", None, True]}
        taken: list[Any] = []

        @workflow(workflow_id="tests.signals.values")
        def values(ctx: WorkflowContext) -> None:
            taken.append([ctx.step.wait_for_signal("early"), ctx.step.wait_for_signal("late")])

        run_id = values.trigger()
        values.signal(run_id, "early", value)
        hookflow.deliver(run_id)
        values.signal(run_id, "late", value)
        hookflow.drive(run_id)
        assert taken == [[value, value]]

    def test_projections_are_what_the_log_says(self, hookflow: Hookflow, asking: Workflow) -> None:
        for timeout in (None, 60):
            run_id = asking.trigger({"timeout": timeout})
            hookflow.deliver(run_id)
            check(hookflow)
            asking.signal(run_id, "approval", 1)
            check(hookflow)
            hookflow.drive(run_id)
            check(hookflow)
