"""``return ctx.continue_as_new(data)``: a run ends, and another goes on in its place."""

from __future__ import annotations

from typing import Any

import pytest

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.exceptions import OperationRefused
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.testing import Hookflow
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def rounds() -> Workflow:
    @workflow(workflow_id="tests.continuing.rounds", timeout=10_000)
    def rounds(ctx: WorkflowContext) -> Any:
        number = ctx.data["number"]
        ctx.step.run("work", lambda: number)
        if "wait" in ctx.data:
            ctx.step.wait_for_signal("go")
        if number == ctx.data["until"]:
            return {"rounds": number, "more": ctx.data.get("more") and ctx.step.wait_for_signal("more")}
        return ctx.continue_as_new({**ctx.data, "number": number + 1})

    return rounds


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


class TestContinuing:
    def test_a_unique_key_is_the_chain_s(self, hookflow: Hookflow, rounds: Workflow) -> None:
        data = {"number": 1, "until": 2, "more": True}
        rounds.trigger(data, "r", unique="shop-7")
        hookflow.drive("r")
        assert hookflow.drive("r~2").completed_at is None
        assert rounds.trigger(data, "other", unique="shop-7") == "r~2"
        run_of("r~2").signal("more")
        assert hookflow.drive("r~2").status == "completed"
        assert rounds.trigger(data, "other", unique="shop-7") == "other"

    def test_the_successor_has_what_the_run_had(self, hookflow: Hookflow, rounds: Workflow) -> None:
        subject = LedgerEntry.objects.create(account="a", amount=1, reference="r")
        rounds.trigger({"number": 1, "until": 3}, "r", actor="ada", label="all rounds", subject=subject)
        first = hookflow.drive("r")
        assert (first.status, first.result) == ("completed", None)
        second, third = hookflow.drive("r~2"), hookflow.drive("r~3")
        assert third.result == {"rounds": 3, "more": None}
        assert [(run.label, run.workflow_id) for run in (second, third)] == [("all rounds", rounds.workflow_id)] * 2
        begun = hookflow.events("r~3")[0]
        assert begun.actor == "ada"
        assert begun.facts["origin"] == {"kind": "continued", "run_id": "r~2"}
        assert (begun.facts["timeout"], begun.facts["subject"]) == (
            10_000,
            [{"type": "testapp.ledgerentry", "key": str(subject.pk)}],
        )
        assert hookflow.events("r")[-1].facts == {"continued_by": "r~2"}
        assert (first.successor, second.predecessor, second.successor) == (second, first, third)
        assert (first.predecessor, third.successor) == (None, None)
        assert list(diff()) == []

    def test_signals_that_nobody_took_go_along(self, hookflow: Hookflow, rounds: Workflow) -> None:
        rounds.trigger({"number": 1, "until": 2, "wait": True, "more": True}, "r")
        run = run_of("r")
        run.signal("more", "kept", id="m", actor="ada")
        run.signal("go", "taken", id="g1")
        run.signal("go", "second", id="g2")
        hookflow.drive("r")
        successor = run_of("r~2")
        received = [event for event in hookflow.events("r~2") if event.type == "signal.received"]
        assert [(event.facts["id"], event.actor) for event in received] == [("m", "ada"), ("g2", None)]
        assert successor.signal("more", "again", id="m") is False
        assert hookflow.drive("r~2").result == {"rounds": 2, "more": "kept"}
        assert list(diff()) == []

    def test_a_signal_to_the_old_id_is_refused_and_names_the_new_one(
        self, hookflow: Hookflow, rounds: Workflow
    ) -> None:
        rounds.trigger({"number": 1, "until": 2}, "r")
        hookflow.drive("r")
        with pytest.raises(OperationRefused, match="cannot signal run r: it continues as run r~2"):
            run_of("r").signal("go")
        with pytest.raises(OperationRefused, match="cannot rewind run r: it continues as run r~2"):
            run_of("r").rewind(to_step="work")

    def test_a_signal_at_the_moment_of_continuing_is_not_lost(self, hookflow: Hookflow) -> None:
        passes: list[int] = []

        @workflow(workflow_id="tests.continuing.moment")
        def moment(ctx: WorkflowContext) -> Any:
            if ctx.data.get("last"):
                return ctx.step.wait_for_signal("word")
            passes.append(1)
            if len(passes) == 1:
                run_of(ctx.run_id).signal("word", "kept")
            return ctx.continue_as_new({"last": True})

        moment.trigger(run_id="r")
        assert hookflow.deliver("r").answer == "lost"
        assert hookflow.deliver("r").answer == "completed"
        assert hookflow.drive("r~2").result == "kept"

    def test_who_waits_for_the_run_waits_for_the_last(self, hookflow: Hookflow, rounds: Workflow) -> None:
        @workflow(workflow_id="tests.continuing.parent")
        def parent(ctx: WorkflowContext) -> Any:
            return ctx.step.child("rounds", rounds, {"number": 1, "until": 3}, run_id="c")

        run_id = parent.trigger()
        hookflow.deliver(run_id)
        for each in ("c", "c~2"):
            hookflow.deliver(each)
            assert run_of(run_id).waits.get().key == "c"
        assert [run.run_id for run in run_of(run_id).children.order_by("created_at")] == ["c", "c~2", "c~3"]
        assert hookflow.drive(run_id).result == {"rounds": 3, "more": None}
        assert list(diff()) == []

    def test_cancelling_the_parent_cancels_the_last(self, hookflow: Hookflow, rounds: Workflow) -> None:
        @workflow(workflow_id="tests.continuing.parent")
        def parent(ctx: WorkflowContext) -> Any:
            return ctx.step.child("rounds", rounds, {"number": 1, "until": 2, "more": True}, run_id="c")

        run_id = parent.trigger()
        hookflow.drive(run_id)
        assert run_of("c~2").status == "running"
        run_of(run_id).cancel()
        assert [run_of(each).status for each in ("c", "c~2")] == ["completed", "cancelled"]


class TestRefusals:
    @pytest.mark.parametrize("data", [[1], "text", {"a": object()}])
    def test_data_is_validated_as_in_trigger(self, hookflow: Hookflow, data: Any) -> None:
        @workflow(workflow_id="tests.continuing.bad")
        def bad(ctx: WorkflowContext) -> Any:
            return ctx.continue_as_new(data)

        run = hookflow.run(bad)
        assert run.status == "failed"
        assert WorkflowRun.objects.count() == 1

    def test_an_id_that_another_run_has(self, hookflow: Hookflow, rounds: Workflow) -> None:
        rounds.trigger({"number": 1, "until": 1}, "r~2")
        rounds.trigger({"number": 1, "until": 2}, "r")
        run = hookflow.drive("r")
        assert run.status == "failed"
        assert "run r cannot continue as 'r~2': another run has that ID" in run.error_message
        assert hookflow.drive("r~2").result == {"rounds": 1, "more": None}

    def test_ids_that_look_like_a_successor_s(self, hookflow: Hookflow, rounds: Workflow) -> None:
        rounds.trigger({"number": 1, "until": 2}, "r~x")
        hookflow.drive("r~x")
        assert hookflow.drive("r~x~2").status == "completed"
        rounds.trigger({"number": 1, "until": 2}, "q" * 200)
        hookflow.drive("q" * 200)
        successor = run_of("q" * 200).successor
        assert successor is not None
        assert len(successor.run_id) <= 200
        assert hookflow.drive(successor.run_id).status == "completed"
