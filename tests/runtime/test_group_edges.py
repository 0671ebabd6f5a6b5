"""Groups where others act at the same moment, where the database refuses, and where they are used as they are not meant."""

from __future__ import annotations

from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime import batch
from django_hookflow.testing import Hookflow
from tests.runtime.test_refused_records import refusing

pytestmark = pytest.mark.django_db(transaction=True)

REFUSES_DOUBTS = "IF NEW.facts->>'kind' = 'doubt' THEN RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation'; END IF"


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def completions(hookflow: Hookflow, run_id: str, step_id: str) -> int:
    return hookflow.history(run_id).count(f"step.completed {step_id}")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_signal_that_finds_its_wait_is_taken_once(hookflow: Hookflow, workers: int) -> None:
    """It settles the wait itself, while the turn that has begun it goes on with other steps of the group."""

    @workflow(workflow_id="tests.group_edges.once")
    def once(ctx: WorkflowContext) -> Any:
        with ctx.step.parallel(max_workers=workers) as group:
            answer = group.wait_for_signal("answer")
            group.run("send", lambda: run_of(ctx.run_id).signal("answer", 9))
            for number in range(4):
                group.run(f"other-{number}", str)
        return [answer.result(), ctx.step.wait_for_signal("again", "answer", timeout=5, default="none")]

    run = hookflow.run(once)
    assert run.result == [9, "none"]
    assert completions(hookflow, run.run_id, "answer") == 1
    assert list(diff()) == []


@pytest.mark.parametrize("events_a_call", [1, 500])
def test_signals_that_come_as_their_waits_are_recorded(
    hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch, events_a_call: int
) -> None:
    """Those that came before the record have found no wait, and those after it have: each is taken once."""
    monkeypatch.setattr(batch, "EVENTS_A_CALL", events_a_call)
    sent: list[int] = []
    append = batch._append

    def send_and_append(*arguments: Any) -> None:
        if len(sent) < 3:
            sent.append(len(sent))
            run_of(run_id).signal("vote", sent[-1])
        append(*arguments)

    @workflow(workflow_id="tests.group_edges.votes")
    def votes(ctx: WorkflowContext) -> Any:
        with ctx.step.parallel(max_workers=1) as group:
            handles = [group.wait_for_signal(f"vote-{number}", "vote") for number in range(3)]
            group.run("other-1", str)
            group.run("other-2", str)
            group.run("other-3", str)
        return sorted(handle.result() for handle in handles)

    run_id = votes.trigger()
    monkeypatch.setattr(batch, "_append", send_and_append)
    run = hookflow.drive(run_id)
    assert (run.status, run.result) == ("completed", [0, 1, 2]), hookflow.history(run_id)
    assert [completions(hookflow, run_id, f"vote-{number}") for number in range(3)] == [1, 1, 1]
    assert list(diff()) == []


def test_a_doubt_that_is_not_recorded_is_not_forgotten(hookflow: Hookflow) -> None:
    done: list[int] = []

    @workflow(workflow_id="tests.group_edges.doubt", retry=Retry(max_attempts=3, first_delay=0))
    def doubting(ctx: WorkflowContext) -> None:
        with ctx.step.parallel() as group:
            group.options(on_doubt="ask").run("pay", done.append, 1)
            group.run("other", str)

    hookflow.crash("pay", "after")
    run_id = doubting.trigger()
    assert hookflow.deliver(run_id).answer == "crashed"
    hookflow.advance(100)
    with refusing("step.suspended", by=REFUSES_DOUBTS):
        assert hookflow.deliver(run_id).answer == "lost"
    hookflow.advance(100)
    assert hookflow.drive(run_id).status == "in_doubt"
    assert done == [1]
    assert "step.failed pay" not in hookflow.history(run_id)


class TestMisuse:
    """A step that is noted where nobody will do it is an error, and not a step that is never done."""

    def run(self, hookflow: Hookflow, use: Any) -> str:
        done: list[int] = []

        @workflow(workflow_id="tests.group_edges.misuse", retry=Retry(max_attempts=1))
        def misused(ctx: WorkflowContext) -> None:
            use(ctx, done)

        run = hookflow.run(misused)
        assert (run.status, done) == ("failed", [])
        return run.error_message

    def test_after_its_block(self, hookflow: Hookflow) -> None:
        def use(ctx: WorkflowContext, done: list[int]) -> None:
            with ctx.step.parallel() as group:
                pass
            group.run("late", done.append, 1)

        assert "step 'late' was added to a group outside its with block" in self.run(hookflow, use)

    def test_without_a_block(self, hookflow: Hookflow) -> None:
        def use(ctx: WorkflowContext, done: list[int]) -> None:
            ctx.step.parallel().options(timeout=5).run("lone", done.append, 1)

        assert "step 'lone' was added to a group outside its with block" in self.run(hookflow, use)

    @pytest.mark.parametrize("inside", [True, False])
    def test_entered_twice(self, hookflow: Hookflow, inside: bool) -> None:
        def use(ctx: WorkflowContext, done: list[int]) -> None:
            group = ctx.step.parallel()
            with group:
                group.run("first", str)
                if inside:
                    group.__enter__()
            with group:
                group.run("second", done.append, 1)

        assert "a group can only be entered once" in self.run(hookflow, use)

    def test_its_options_are_of_the_same_group(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.group_edges.options")
        def optioned(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                patient = group.options(timeout=60)
                handles = [patient.run("a", str, 1), group.run("b", str, 2)]
            with pytest.raises(HookFlowException, match="outside its with block"):
                patient.run("c", str, 3)
            return [handle.result() for handle in handles]

        assert hookflow.run(optioned).result == ["1", "2"]


def test_dead_letters_of_a_group_are_replayed_one_after_another(hookflow: Hookflow) -> None:
    """Each replay takes back the failure it names; what the others came to is kept."""
    calls: list[int] = []

    def work(number: int) -> int:
        calls.append(number)
        if number in (1, 3) and calls.count(number) == 1:
            raise ValueError("wrong")
        return number

    @workflow(workflow_id="tests.group_edges.replayed")
    def replayed(ctx: WorkflowContext) -> Any:
        return ctx.step.map("n", work, range(5))

    run = hookflow.run(replayed)
    for failed in ("n[1]", "n[3]"):
        entry = DeadLetterEntry.objects.get(is_replayed=False)
        assert (run.status, entry.step_id) == ("failed", failed)
        entry.replay()
        run = hookflow.drive(run.run_id)
    assert (run.status, run.result) == ("completed", list(range(5)))
    assert sorted(calls) == [0, 1, 1, 2, 3, 3, 4]


def test_pauses_of_a_group_that_waits_are_no_lost_turns(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.group_edges.paused")
    def paused(ctx: WorkflowContext) -> Any:
        with ctx.step.parallel() as group:
            answer = group.wait_for_signal("answer")
            group.sleep("nap", 60)
        return answer.result()

    run_id = paused.trigger()
    hookflow.deliver(run_id)
    for _ in range(15):
        run_of(run_id).pause()
        run_of(run_id).resume()
        assert hookflow.announced(run_id) is None
    run_of(run_id).signal("answer", 1)
    assert hookflow.drive(run_id).result == 1
