"""What people do to runs, and what the log says of it afterwards."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import OperationRefused, UnknownWorkflow, WorkflowError
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.runtime.turn import end_overdue
from django_hookflow.testing import Hookflow
from tests.admin import history
from tests.sessions import in_another_session
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

calls: list[Any] = []
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()
    broken.clear()


def work(name: str) -> str:
    calls.append(name)
    if name in broken:
        raise ValueError(f"{name} is broken")
    return name


@workflow(workflow_id="tests.operated")
def operated(ctx: WorkflowContext) -> str:
    ctx.step.run("one", work, "one")
    ctx.step.sleep("nap", seconds=60)
    ctx.step.run("two", work, "two")
    ctx.step.atomic("ledger", lambda: LedgerEntry.objects.create(account="shop", amount=1).amount)
    return "done"


def get(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def types(hookflow: Hookflow, run_id: str) -> list[str]:
    return [event.type for event in hookflow.events(run_id)]


def failed_without_code() -> DeadLetterEntry:
    run = history.start("gone-1", "tests.gone")
    history.fail_attempt(run, "one")
    history.fail(run, "one")
    return DeadLetterEntry.objects.get(run_uid=run)


def asleep(hookflow: Hookflow) -> WorkflowRun:
    run_id = operated.trigger()
    assert hookflow.deliver(run_id).answer == "suspended"
    return get(run_id)


class TestCancel:
    def test_a_sleeping_run_ends_at_once(self, hookflow: Hookflow) -> None:
        run = asleep(hookflow)
        assert run.cancel(reason="customer called", actor="anna") is True
        assert run.status == "cancelled"
        assert run.completed_at is not None
        assert hookflow.announced(run.run_id) is None
        last = hookflow.events(run.run_id)[-1]
        assert (last.type, last.actor, last.payload) == ("run.cancelled", "anna", {"reason": "customer called"})
        hookflow.advance(61)
        assert hookflow.deliver(run.run_id, seq=4).answer == "finished"
        assert calls == ["one"]

    def test_twice_is_once(self, hookflow: Hookflow) -> None:
        run = asleep(hookflow)
        assert [run.cancel(), run.cancel()] == [True, False]
        assert types(hookflow, run.run_id).count("run.cancelled") == 1

    def test_a_completed_run_cannot_be_cancelled(self, hookflow: Hookflow) -> None:
        run = hookflow.run(operated)
        with pytest.raises(OperationRefused, match=f"cannot cancel run {run.run_id}: it is completed"):
            run.cancel()

    def test_a_step_under_way_is_recorded_and_the_next_does_not_begin(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.cancelled_under_way")
        def cancelled(ctx: WorkflowContext) -> None:
            ctx.step.run("first", lambda: get(ctx.run_id).cancel(actor="anna"))
            ctx.step.run("second", work, "second")

        run_id = cancelled.trigger()
        assert hookflow.deliver(run_id).answer == "lost"
        assert calls == []
        assert types(hookflow, run_id) == ["run.triggered", "turn.started", "run.cancelled", "step.completed"]
        assert get(run_id).status == "cancelled"

    def test_an_atomic_step_under_way_leaves_nothing(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.cancelled_in_atomic")
        def cancelled(ctx: WorkflowContext) -> None:
            def write() -> None:
                LedgerEntry.objects.create(account="shop", amount=1)
                in_another_session(lambda: get(ctx.run_id).cancel())

            ctx.step.atomic("ledger", write)

        run_id = cancelled.trigger()
        assert hookflow.deliver(run_id).answer == "lost"
        assert not LedgerEntry.objects.exists()
        assert types(hookflow, run_id) == ["run.triggered", "turn.started", "run.cancelled"]

    def test_the_outcome_of_a_step_that_ends_the_turn_is_not_lost(self, hookflow: Hookflow, settings: Any) -> None:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 1

        @workflow(workflow_id="tests.cancelled_at_end_of_turn")
        def cancelled(ctx: WorkflowContext) -> None:
            ctx.step.run("first", lambda: get(ctx.run_id).cancel())

        run_id = cancelled.trigger()
        assert hookflow.deliver(run_id).answer == "lost"
        assert types(hookflow, run_id)[-2:] == ["run.cancelled", "step.completed"]
        assert not OutboxMessage.objects.exists()


class TestPause:
    def test_a_paused_run_waits_and_goes_on_when_resumed(self, hookflow: Hookflow) -> None:
        run = asleep(hookflow)
        assert [run.pause(reason="audit", actor="anna"), run.pause()] == [True, False]
        assert run.status == "paused"
        hookflow.advance(61)
        assert hookflow.deliver(run.run_id, seq=4).answer == "stale"
        assert [run.resume(actor="anna"), run.resume()] == [True, False]
        assert hookflow.drive(run.run_id).status == "completed"
        assert types(hookflow, run.run_id).count("turn.abandoned") == 0

    def test_resumed_before_its_worker_noticed_the_pause_it_goes_on_at_once(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.resumed_under_way")
        def resumed(ctx: WorkflowContext) -> str:
            def pause_and_resume() -> None:
                get(ctx.run_id).pause()
                get(ctx.run_id).resume()
                assert hookflow.deliver(ctx.run_id).answer == "busy"

            ctx.step.run("first", pause_and_resume)
            return "done"

        run_id = resumed.trigger()
        assert hookflow.deliver(run_id).answer == "completed"
        assert types(hookflow, run_id)[2:] == ["run.paused", "run.resumed", "step.completed", "run.completed"]
        assert not OutboxMessage.objects.exists()

    def test_a_pause_does_not_shorten_a_sleep(self, hookflow: Hookflow) -> None:
        run = asleep(hookflow)
        run.pause()
        hookflow.advance(20)
        run.resume()
        assert run.wake_at is not None
        early = hookflow.deliver(run.run_id)
        assert early.answer == "early"
        assert early.retry_after == pytest.approx(40, abs=5)
        assert hookflow.drive(run.run_id).status == "completed"

    def test_a_run_paused_under_way_stops_before_its_next_step(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.paused_under_way")
        def paused(ctx: WorkflowContext) -> None:
            ctx.step.run("first", lambda: get(ctx.run_id).pause())
            ctx.step.run("second", work, "second")

        run_id = paused.trigger()
        assert hookflow.deliver(run_id).answer == "lost"
        assert (get(run_id).status, calls) == ("paused", [])
        get(run_id).resume()
        assert hookflow.drive(run_id).status == "completed"
        assert types(hookflow, run_id).count("step.completed") == 2
        assert types(hookflow, run_id).count("turn.abandoned") == 0

    @pytest.mark.parametrize("operation", ["pause", "resume"])
    def test_a_run_that_has_ended_is_neither_paused_nor_resumed(self, hookflow: Hookflow, operation: str) -> None:
        run = hookflow.run(operated)
        with pytest.raises(OperationRefused, match=f"cannot {operation} run"):
            getattr(run, operation)()


class TestReplay:
    """Scenario 19."""

    def failed(self, hookflow: Hookflow) -> DeadLetterEntry:
        broken.add("two")
        assert hookflow.run(operated, {"api_key": "hush", "order": 1}).status == "failed"
        calls.clear()
        return DeadLetterEntry.objects.get(workflow_id=operated.workflow_id)

    def test_it_resumes_where_it_failed_once_and_keeps_every_click(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        broken.clear()
        assert entry.replay(actor="anna", reason="fixed") == entry.run_id
        assert entry.replay(actor="bert") == entry.run_id
        assert (entry.is_replayed, entry.replayed_at is not None) == (True, True)
        run = hookflow.drive(entry.run_id)
        assert run.status == "completed"
        assert calls == ["two"]
        told = [(event.type, event.actor) for event in hookflow.events(run.run_id) if "replay" in event.type]
        assert told == [("run.replayed", "anna"), ("run.replay_repeated", "bert")]
        assert entry.replay() == entry.run_id
        assert LedgerEntry.objects.count() == 1

    def test_two_at_once_replay_once(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        broken.clear()

        def replay() -> None:
            entry.replay()
            connection.close()

        threads = [threading.Thread(target=replay) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert types(hookflow, entry.run_id).count("run.replayed") == 1
        assert types(hookflow, entry.run_id).count("run.replay_repeated") == 7
        assert hookflow.drive(entry.run_id).status == "completed"
        assert calls == ["two"]

    def test_a_replay_that_fails_again_leaves_another_entry(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        entry.replay()
        assert hookflow.drive(entry.run_id).status == "failed"
        assert list(DeadLetterEntry.objects.order_by("seq").values_list("is_replayed", flat=True)) == [True, False]

    def test_from_the_start_is_a_new_run(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        broken.clear()
        new_id = entry.replay(from_start=True, actor="anna")
        assert entry.replay(from_start=True, actor="bert") == new_id
        assert new_id != entry.run_id
        new = hookflow.drive(new_id)
        assert (new.status, new.data) == ("completed", {"api_key": "hush", "order": 1})
        assert calls == ["one", "two"]
        assert get(entry.run_id).status == "failed"
        entry.refresh_from_db()
        assert entry.is_replayed
        [restarted] = [event for event in hookflow.events(entry.run_id) if event.type == "run.restarted"]
        assert restarted.facts["run_id"] == new_id

    def test_many_are_replayed_each_with_its_result(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        hookflow.run(operated)
        get(entry.run_id).rewind(to_step="one")
        results = DeadLetterEntry.objects.order_by("id").replay(actor="anna")
        assert [result.run_id is None for result in results] == [False, False]
        assert all(result.error is None for result in results)

    def test_secrets_in_the_data_do_not_show_in_the_entry(self, hookflow: Hookflow) -> None:
        entry = self.failed(hookflow)
        assert entry.payload["data"] == {"api_key": "[masked]", "order": 1}

    @pytest.mark.parametrize("from_start", [False, True])
    def test_without_its_code_it_is_refused_and_stays_open(self, hookflow: Hookflow, from_start: bool) -> None:
        entry = failed_without_code()
        with pytest.raises(UnknownWorkflow, match="gone"):
            entry.replay(from_start=from_start)
        entry.refresh_from_db()
        assert entry.is_replayed is False
        assert types(hookflow, entry.run_id) == ["run.triggered", "step.failed", "turn.started", "run.failed"]

    def test_one_of_many_without_its_code_stays_open_and_the_others_go_on(self, hookflow: Hookflow) -> None:
        gone, entry = failed_without_code(), self.failed(hookflow)
        results = DeadLetterEntry.objects.order_by("id").replay(actor="anna")
        assert [(result.run_id, type(result.error)) for result in results] == [
            (None, UnknownWorkflow),
            (entry.run_id, type(None)),
        ]
        assert list(DeadLetterEntry.objects.filter(is_replayed=False)) == [gone]


class ReadsFromAReplica:
    """Routes as projects with a replica do. There is none here, so whoever reads from it is found out."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"


class TestReplicas:
    """What has just been done, or is about to be decided on, is read where it is written."""

    def test_operations_do_not_depend_on_a_replica(self, hookflow: Hookflow, settings: Any) -> None:
        broken.add("two")
        failed = hookflow.run(operated)
        entry = DeadLetterEntry.objects.get()
        event = hookflow.events(failed.run_id)[2]
        settings.DATABASE_ROUTERS = [ReadsFromAReplica()]
        assert event.redact(reason="asked for") is True
        assert event.is_redacted
        assert entry.replay() == failed.run_id
        assert entry.is_replayed
        failed.pause()
        assert failed.status == "paused"

    def test_nor_does_what_is_recorded_of_a_step_in_doubt(self, hookflow: Hookflow, settings: Any) -> None:
        run = TestDoubt().crashing(hookflow, "replica", "ask")
        settings.DATABASE_ROUTERS = [ReadsFromAReplica()]
        run.resolve("charge", result="looked up")
        settings.DATABASE_ROUTERS = []
        assert hookflow.drive(run.run_id).result == "looked up"


class TestRewind:
    def test_a_step_and_what_follows_run_again_and_the_log_keeps_both(self, hookflow: Hookflow) -> None:
        run = hookflow.run(operated)
        assert run.rewind(to_step="two", reason="wrong sum", actor="anna") is True
        assert (run.status, run.result, run.completed_at) == ("running", None, None)
        assert [step.step_id for step in run.step_executions.all()] == ["one", "nap"]
        run = hookflow.drive(run.run_id)
        assert run.status == "completed"
        assert calls == ["one", "two", "two"]
        assert LedgerEntry.objects.count() == 2
        kinds = types(hookflow, run.run_id)
        assert kinds.count("step.superseded") == 2
        assert kinds.count("step.completed") == 6

    def test_a_failed_run_can_be_rewound_and_its_dead_letter_is_settled(self, hookflow: Hookflow) -> None:
        broken.add("two")
        run = hookflow.run(operated)
        broken.clear()
        run.rewind(to_step="one")
        assert DeadLetterEntry.objects.get().is_replayed
        assert hookflow.drive(run.run_id).status == "completed"
        assert calls == ["one", "two", "one", "two"]

    def test_an_unknown_step_is_refused(self, hookflow: Hookflow) -> None:
        run = hookflow.run(operated)
        with pytest.raises(OperationRefused, match="no step 'three'"):
            run.rewind(to_step="three")

    def test_a_cancelled_run_stays_cancelled(self, hookflow: Hookflow) -> None:
        run = asleep(hookflow)
        run.cancel()
        with pytest.raises(OperationRefused, match="it is cancelled"):
            run.rewind(to_step="one")


class TestDivergence:
    """Scenario 14: the ways to repair."""

    steps = ("a", "b", "c")

    def diverged(self, hookflow: Hookflow, settings: Any, name: str, after: tuple[str, ...], **options: Any) -> Any:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 2
        now: dict[str, tuple[str, ...]] = {"steps": ("a", "b", "c")}

        @workflow(workflow_id=f"tests.diverging.{name}", **options)
        def diverging(ctx: WorkflowContext) -> None:
            for step_id in now["steps"]:
                ctx.step.run(step_id, work, step_id)

        run_id = diverging.trigger()
        hookflow.deliver(run_id)
        now["steps"] = after
        hookflow.deliver(run_id)
        return get(run_id), now

    def test_by_deploying_the_old_code(self, hookflow: Hookflow, settings: Any) -> None:
        run, now = self.diverged(hookflow, settings, "old_code", ("a", "x", "c"))
        assert run.status == "diverged"
        now["steps"] = ("a", "b", "c")
        run.resume(actor="anna")
        assert hookflow.drive(run.run_id).status == "completed"
        assert calls == ["a", "b", "c"]

    def test_by_rewinding(self, hookflow: Hookflow, settings: Any) -> None:
        run, _now = self.diverged(hookflow, settings, "rewinding", ("a", "x", "c"))
        run.rewind(to_step="b")
        assert hookflow.drive(run.run_id).status == "completed"
        assert calls == ["a", "b", "x", "c"]

    def test_by_an_alias(self, hookflow: Hookflow, settings: Any) -> None:
        run, _now = self.diverged(hookflow, settings, "alias", ("a", "x", "c"), renamed_steps={"b": "x"})
        assert hookflow.drive(run.run_id).status == "completed"
        assert calls == ["a", "b", "c"]

    def test_the_difference_is_told(self, hookflow: Hookflow, settings: Any) -> None:
        run, _now = self.diverged(hookflow, settings, "told", ("a", "x", "c"))
        event = hookflow.events(run.run_id)[-1]
        assert (event.facts["recorded"], event.facts["asked"]) == ("b", "x")
        assert (
            run.error_message
            == "step 'b' is recorded, but the code did not call it and calls 'x', which is not recorded"
        )


class Crash(BaseException):
    """The end of a worker, without its process."""


class TestDoubt:
    def crashing(self, hookflow: Hookflow, name: str, on_doubt: Any) -> WorkflowRun:
        """A run whose worker is lost in mid-step, the first time."""

        def charge() -> str:
            calls.append("charge")
            if len(calls) == 1:
                # The worker is gone: nothing after this line happens in this turn, not even the hand-back.
                hookflow.advance(61)
                in_another_session(lambda: hookflow.deliver(run_id))
            return "charged"

        @workflow(workflow_id=f"tests.doubt.{name}")
        def doubtful(ctx: WorkflowContext) -> Any:
            return ctx.step.options(on_doubt=on_doubt).run("charge", charge)

        run_id = doubtful.trigger()
        hookflow.deliver(run_id)
        return get(run_id)

    def test_retry_runs_it_again_and_the_lost_attempt_shows(self, hookflow: Hookflow) -> None:
        run = self.crashing(hookflow, "retry", "retry")
        assert (run.status, run.result, calls) == ("completed", "charged", ["charge", "charge"])
        attempts = [event.facts["attempt"] for event in hookflow.events(run.run_id) if event.type == "step.intended"]
        assert attempts == [1, 2]

    def test_ask_waits_for_an_operator_who_says_what_came_of_it(self, hookflow: Hookflow) -> None:
        run = self.crashing(hookflow, "ask", "ask")
        assert (run.status, calls) == ("in_doubt", ["charge"])
        assert hookflow.announced(run.run_id) is None
        with pytest.raises(OperationRefused, match="cannot resolve run .* in doubt"):
            run.resolve("another", result=1)
        run.resolve("charge", result={"id": "ch_1"}, actor="anna", reason="looked it up")
        run = hookflow.drive(run.run_id)
        assert (run.status, run.result, calls) == ("completed", {"id": "ch_1"}, ["charge"])
        with pytest.raises(OperationRefused, match="it is completed"):
            run.resolve("charge", result=2)
        resolved = [event for event in hookflow.events(run.run_id) if event.type == "step.resolved"]
        assert [(event.actor, event.payload) for event in resolved] == [("anna", {"reason": "looked it up"})]

    def test_a_function_finds_out(self, hookflow: Hookflow) -> None:
        keys: list[str] = []

        def find_out(key: str) -> str:
            keys.append(key)
            return "found"

        run = self.crashing(hookflow, "function", find_out)
        assert (run.status, run.result, calls) == ("completed", "found", ["charge"])
        assert len(keys) == 1

    def test_a_step_that_loses_its_worker_every_time_fails(self, hookflow: Hookflow) -> None:
        def lose() -> None:
            calls.append("lose")
            raise Crash

        @workflow(workflow_id="tests.doubt.poison", retry=Retry(max_attempts=3))
        def poisoned(ctx: WorkflowContext) -> None:
            ctx.step.options(on_doubt="retry").run("poison", lose)

        run_id = poisoned.trigger()
        for _ in range(3):
            with pytest.raises(Crash):
                hookflow.deliver(run_id)
        assert hookflow.deliver(run_id).answer == "failed"
        assert calls == ["lose"] * 3
        assert "lost 3 times in a row" in get(run_id).error_message


class TestTimeouts:
    def test_a_step_that_took_too_long_is_refused_and_tried_again(self, hookflow: Hookflow) -> None:
        def slow() -> str:
            calls.append("slow")
            hookflow.advance(10 if len(calls) == 1 else 1)
            return "done"

        @workflow(workflow_id="tests.slow_step")
        def timed(ctx: WorkflowContext) -> Any:
            return ctx.step.options(timeout=5).run("slow", slow)

        run = hookflow.run(timed)
        assert (run.status, run.result) == ("completed", "done")
        [failed] = [event for event in hookflow.events(run.run_id) if event.type == "step.failed"]
        assert failed.facts["error"] == "django_hookflow.exceptions.StepTimedOut"
        assert "was given 5 s" in failed.payload["message"]

    def test_an_atomic_step_that_took_too_long_rolls_back(self, hookflow: Hookflow) -> None:
        def slow() -> None:
            LedgerEntry.objects.create(account="shop", amount=1)
            hookflow.advance(10)

        @workflow(workflow_id="tests.slow_atomic", retry=Retry(max_attempts=1))
        def timed(ctx: WorkflowContext) -> Any:
            return ctx.step.options(timeout=5).atomic("slow", slow)

        assert hookflow.run(timed).status == "failed"
        assert not LedgerEntry.objects.exists()

    def test_a_run_fails_when_its_time_is_up_wherever_it_stands(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.timed_run", timeout=30)
        def timed(ctx: WorkflowContext) -> None:
            ctx.step.sleep("long", seconds=3600)

        run_id = timed.trigger()
        hookflow.deliver(run_id)
        assert end_overdue(timed.workflow_id, run_id).answer == "early"
        hookflow.advance(31)
        assert end_overdue(timed.workflow_id, run_id).answer == "failed"
        assert get(run_id).status == "failed"
        assert DeadLetterEntry.objects.get().error_message == "the run did not end within its timeout"
        assert not OutboxMessage.objects.exists()
        assert end_overdue(timed.workflow_id, run_id).answer == "stale"

    def test_a_run_that_ends_in_time_leaves_no_deadline(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.timed_in_time", timeout=30)
        def timed(ctx: WorkflowContext) -> None:
            ctx.step.run("one", work, "one")

        assert hookflow.run(timed).status == "completed"
        assert not OutboxMessage.objects.exists()


def test_a_workflow_that_raises_between_steps_is_tried_again_if_that_may_pass(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.stumbling")
    def stumbling(ctx: WorkflowContext) -> str:
        ctx.step.run("one", work, "one")
        calls.append("between")
        if calls.count("between") < 3:
            raise OSError("unreachable")
        return "through"

    run = hookflow.run(stumbling)
    assert (run.status, run.result) == ("completed", "through")
    attempts = [event.facts["attempt"] for event in hookflow.events(run.run_id) if event.type == "turn.failed"]
    assert attempts == [1, 2]
    assert calls.count("one") == 1


def test_retry_after_wins(hookflow: Hookflow) -> None:
    class Busy(Exception):
        status_code = 429
        retry_after = 77

    def busy() -> None:
        calls.append("busy")
        raise Busy

    @workflow(workflow_id="tests.busy", retry=Retry(max_attempts=2))
    def asking(ctx: WorkflowContext) -> None:
        with pytest.raises(WorkflowError) as failure:
            ctx.step.run("busy", busy)
        calls.append(failure.value.attempts)

    run = hookflow.run(asking)
    failed = [event.facts.get("retry_in") for event in hookflow.events(run.run_id) if event.type == "step.failed"]
    assert failed == [77, None]
    assert calls == ["busy", "busy", 2]
