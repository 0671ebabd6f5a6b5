"""Groups: steps that run at once, are recorded together, and are waited for together."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.events.database import log_connection
from django_hookflow.exceptions import (
    DuplicateStep,
    GroupNotEnded,
    MisplacedStep,
    SignalTimedOut,
    WorkflowError,
)
from django_hookflow.models import OutboxMessage, WorkflowEvent, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.runtime import stopping
from django_hookflow.testing import Hookflow
from tests.log.calls import ask
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = Retry(first_delay=0)


def run_of(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def waits(run_id: str) -> list[tuple[str, str]]:
    return sorted(run_of(run_id).waits.filter(step_id__gt="").values_list("step_id", "kind"))


def turns(run_id: str) -> int:
    return WorkflowEvent.objects.filter(workflow_run__run_id=run_id, type="turn.started").count()


def commits_of_steps(run_id: str) -> int:
    [row] = ask(
        "SELECT count(DISTINCT event.xid) AS number FROM django_hookflow_event AS event "
        "JOIN django_hookflow_head AS head USING (run_uid) WHERE run_id = %s AND type = 'step.completed'",
        run_id,
    )
    return int(row["number"])


@pytest.fixture(autouse=True)
def _consistent() -> Any:
    yield
    assert list(diff()) == []


class TestAtOnce:
    def test_steps_of_a_group_work_at_the_same_time(self, hookflow: Hookflow) -> None:
        together = threading.Barrier(3, timeout=20)

        @workflow(workflow_id="tests.groups.together")
        def meeting(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=3) as group:
                handles = [group.run(f"s{n}", lambda n=n: (together.wait(), n)[1]) for n in range(3)]
            return [handle.result() for handle in handles]

        run = hookflow.run(meeting)
        assert (run.status, run.result) == ("completed", [0, 1, 2])
        assert hookflow.history(run.run_id).count("step.completed s1") == 1

    def test_nothing_begins_before_the_block_ends(self, hookflow: Hookflow) -> None:
        done: list[str] = []

        @workflow(workflow_id="tests.groups.late")
        def late(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                first = group.run("first", done.append, "first")
                assert done == []
                try:
                    first.result()
                except GroupNotEnded as error:
                    said = str(error)
            return said

        run = hookflow.run(late)
        assert done == ["first"]
        assert "step 'first' has no result yet" in str(run.result)

    def test_an_exception_in_the_block_leaves_nothing(self, hookflow: Hookflow) -> None:
        done: list[str] = []

        @workflow(workflow_id="tests.groups.broken")
        def broken(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                group.run("first", done.append, "first")
                raise ValueError("no")

        assert hookflow.run(broken).status == "failed"
        assert done == []

    def test_an_empty_group(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.empty")
        def empty(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel():
                pass
            return ctx.step.map("none", str, [])

        assert hookflow.run(empty).result == []

    def test_what_ended_meanwhile_is_recorded_in_one_commit(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.many")
        def many(ctx: WorkflowContext) -> Any:
            return sum(ctx.step.map("n", lambda n: n, range(300), max_workers=8))

        run = hookflow.run(many)
        assert run.result == sum(range(300))
        assert commits_of_steps(run.run_id) < 150
        assert run.step_executions.count() == 300

    def test_a_replay_returns_the_records_in_order(self, hookflow: Hookflow) -> None:
        calls: list[int] = []

        def note(n: int) -> tuple[int, str]:
            calls.append(n)
            return n, "x"

        @workflow(workflow_id="tests.groups.replayed")
        def replayed(ctx: WorkflowContext) -> Any:
            values = ctx.step.map("n", note, [3, 1, 2], key=str)
            ctx.step.sleep("pause", 5)
            return values == [(3, "x"), (1, "x"), (2, "x")]

        run = hookflow.run(replayed)
        assert (run.result, sorted(calls)) == (True, [1, 2, 3])
        assert {step.step_id for step in run.step_executions.all()} == {"n[3]", "n[1]", "n[2]", "pause"}

    def test_context_variables_go_along(self, hookflow: Hookflow) -> None:
        tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

        @workflow(workflow_id="tests.groups.context")
        def in_context(ctx: WorkflowContext) -> Any:
            tenant.set("red")
            return ctx.step.map("t", lambda _: tenant.get(), range(3))

        assert contextvars.copy_context().run(hookflow.run, in_context).result == ["red"] * 3


class TestFailures:
    def test_the_first_failure_is_raised_once_all_have_ended(self, hookflow: Hookflow) -> None:
        done: list[str] = []

        def fail(text: str) -> None:
            raise ValueError(text)

        @workflow(workflow_id="tests.groups.failing")
        def failing(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=ctx.data["workers"]) as group:
                group.run("good", done.append, "good")
                group.run("bad", fail, "first")
                group.run("worse", fail, "second")
                group.run("late", done.append, "late")

        for workers in (1, 4):
            done.clear()
            run = hookflow.run(failing, {"workers": workers})
            assert (run.status, sorted(done)) == ("failed", ["good", "late"])
            assert run.error_message == "step 'bad' failed after 1 attempt: ValueError: first"

    def test_collected_failures_are_raised_by_their_results(self, hookflow: Hookflow) -> None:
        def fail() -> None:
            raise ValueError("no")

        @workflow(workflow_id="tests.groups.collecting")
        def collecting(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(on_error="collect") as group:
                bad, good = group.run("bad", fail), group.run("good", lambda: 1)
            with pytest.raises(WorkflowError, match="ValueError: no"):
                bad.result()
            return good.result()

        assert hookflow.run(collecting).result == 1

    def test_one_is_tried_again_while_others_go_on(self, hookflow: Hookflow) -> None:
        attempts: list[str] = []

        def flaky(name: str) -> str:
            attempts.append(name)
            if name == "flaky" and attempts.count(name) < 3:
                raise ConnectionError("away")
            return name

        @workflow(workflow_id="tests.groups.flaky", retry=Retry(first_delay=60, jitter=0))
        def trying(ctx: WorkflowContext) -> Any:
            return ctx.step.map("s", flaky, ["a", "flaky", "b"], key=str)

        run_id = trying.trigger()
        assert hookflow.deliver(run_id).answer == "suspended"
        assert waits(run_id) == [("s[flaky]", "backoff")]
        assert sorted(attempts) == ["a", "b", "flaky"]
        run = hookflow.drive(run_id)
        assert run.result == ["a", "flaky", "b"]
        assert (attempts.count("flaky"), attempts.count("a"), turns(run_id)) == (3, 1, 3)

    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_result_that_the_database_refuses_fails_alone(self, hookflow: Hookflow, workers: int) -> None:
        @workflow(workflow_id="tests.groups.refused")
        def refused(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=workers, on_error="collect") as group:
                handles = [group.run(f"s{n}", lambda n=n: object() if n == 1 else n) for n in range(3)]
            with pytest.raises(WorkflowError):
                handles[1].result()
            return [handles[0].result(), handles[2].result()]

        assert hookflow.run(refused).result == [0, 2]

    @pytest.mark.parametrize(
        ("call", "error"),
        [
            (lambda ctx: ctx.step.parallel(max_workers=0), "max_workers must be a whole number .*, not 0"),
            (lambda ctx: ctx.step.parallel(max_workers=True), "max_workers must be a whole number .*, not True"),
            (lambda ctx: ctx.step.parallel(on_error="ignore"), "on_error must be .*, not 'ignore'"),
            (lambda ctx: ctx.step.map("m", str, [1, 1], key=str), "two items have the key '1'"),
            (lambda ctx: ctx.step.map("", str, [1]), "step"),
            (lambda ctx: ctx.step.map("m", str, 7), "not iterable"),
        ],
    )
    def test_bad_input(self, hookflow: Hookflow, call: Any, error: str) -> None:
        @workflow(workflow_id="tests.groups.bad", retry=Retry(max_attempts=1))
        def bad(ctx: WorkflowContext) -> Any:
            call(ctx)

        run = hookflow.run(bad)
        assert (run.status, run.step_executions.count()) == ("failed", 0)
        assert error in run.error_message

    def test_an_id_twice(self, hookflow: Hookflow) -> None:
        done: list[int] = []

        @workflow(workflow_id="tests.groups.twice", retry=Retry(max_attempts=1))
        def twice(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                group.run("same", done.append, 1)
                group.run("same", done.append, 2)

        run = hookflow.run(twice)
        assert DuplicateStep.__name__ in run.error_type
        assert done == []

    def test_a_step_inside_a_step_of_a_group(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.nested")
        def nested(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                group.run("outer", lambda: ctx.step.run("inner", str))
                group.run("other", str)

        run = hookflow.run(nested)
        assert run.status == "failed"
        assert MisplacedStep.__name__ in run.error_type


class TestWaiting:
    def test_a_group_that_waits_costs_one_turn(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.waiting")
        def waiting(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                for seconds in (10, 30, 20):
                    group.sleep(f"sleep-{seconds}", seconds)
                answer = group.wait_for_signal("answer")
                work = group.run("work", lambda: 1)
            return [answer.result(), work.result()]

        run_id = waiting.trigger()
        assert hookflow.deliver(run_id).answer == "suspended"
        assert [kind for _, kind in waits(run_id)] == ["signal", "sleep", "sleep", "sleep"]
        assert hookflow.announced(run_id) is None, "a signal may take for ever"
        run_of(run_id).signal("answer", 7)
        announced = hookflow.announced(run_id)
        assert announced is not None
        assert announced.due_at is not None
        run = hookflow.drive(run_id)
        assert (run.result, turns(run_id)) == ([7, 1], 2)

    def test_the_last_signal_wakes_the_run_and_no_other(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.signals")
        def signals(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                handles = [group.wait_for_signal(name) for name in "abc"]
            return [handle.result() for handle in handles]

        run_id = signals.trigger()
        run_of(run_id).signal("b", 2)
        assert hookflow.deliver(run_id).answer == "suspended"
        run_of(run_id).signal("a", 1)
        assert hookflow.announced(run_id) is None
        run_of(run_id).signal("c", 3)
        assert hookflow.drive(run_id).result == [1, 2, 3]
        assert turns(run_id) == 2

    def test_a_timeout_in_a_group(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.timeout")
        def timing_out(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(on_error="collect") as group:
                late = group.wait_for_signal("late", timeout=10)
                given = group.wait_for_signal("given", timeout=20, default="nobody")
            with pytest.raises(SignalTimedOut):
                late.result()
            return given.result()

        run = hookflow.run(timing_out)
        assert (run.result, turns(run.run_id)) == ("nobody", 2)

    def test_two_waits_for_one_name_take_two_signals(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.votes")
        def votes(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                handles = [group.wait_for_signal(f"vote-{n}", "vote") for n in range(3)]
            return [handle.result() for handle in handles]

        run_id = votes.trigger()
        run_of(run_id).signal("vote", 1)
        hookflow.deliver(run_id)
        run_of(run_id).signal("vote", 2)
        run_of(run_id).signal("vote", 3)
        assert hookflow.drive(run_id).result == [1, 2, 3]

    def test_a_signal_that_comes_while_the_group_works_is_taken(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.meanwhile")
        def meanwhile(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=ctx.data["workers"]) as group:
                answer = group.wait_for_signal("answer")
                group.run("send", lambda: run_of(ctx.run_id).signal("answer", 9))
                group.run("other", str)
            return answer.result()

        for workers in (1, 4):
            assert hookflow.run(meanwhile, {"workers": workers}).result == 9

    def test_waking_a_group(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.woken")
        def woken(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                group.sleep("short", 10)
                group.sleep("long", 10_000)
            return 1

        run_id = woken.trigger()
        hookflow.deliver(run_id)
        run_of(run_id).wake()
        assert waits(run_id) == []
        assert hookflow.deliver(run_id).answer == "completed"

    def test_a_doubt_in_a_group_is_resolved(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.doubt")
        def doubting(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                paid = group.options(on_doubt="ask").run("pay", lambda: "paid")
                other = group.run("other", lambda: "done")
            return [paid.result(), other.result()]

        hookflow.crash("pay", "after")
        run_id = doubting.trigger()
        hookflow.drive(run_id)
        assert run_of(run_id).status == "in_doubt"
        run_of(run_id).resolve("pay", result="resolved")
        assert hookflow.drive(run_id).result == ["resolved", "done"]


class TestChildren:
    def test_a_map_over_a_workflow_joins_once(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.square")
        def square(ctx: WorkflowContext) -> Any:
            ctx.step.wait_for_signal("go") if ctx.data.get("waits") else None
            return ctx.data["n"] ** 2

        @workflow(workflow_id="tests.groups.parent")
        def parent(ctx: WorkflowContext) -> Any:
            items = [{"n": n, "waits": n == 3} for n in range(6)]
            return ctx.step.map("square", square, items, key=lambda item: item["n"])

        run_id = parent.trigger()
        hookflow.drive(run_id)
        assert waits(run_id) == [("square[3]", "child")]
        run_of(run_id).children.get(parent_step="square[3]").signal("go")
        hookflow.drive(run_of(run_id).children.get(parent_step="square[3]").run_id)
        run = hookflow.drive(run_id)
        assert (run.result, turns(run_id)) == ([0, 1, 4, 9, 16, 25], 2)

    def test_what_is_no_data_is_refused_before_anything_begins(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.any")
        def child(ctx: WorkflowContext) -> None: ...

        @workflow(workflow_id="tests.groups.bad_parent", retry=Retry(max_attempts=1))
        def parent(ctx: WorkflowContext) -> Any:
            return ctx.step.map("child", child, [{}, 7])

        run = hookflow.run(parent)
        assert (run.status, run.children.count()) == ("failed", 0)


class TestTurns:
    @pytest.mark.parametrize("verb", ["run", "atomic"])
    def test_a_budget_that_ends_in_the_middle(self, hookflow: Hookflow, settings: Any, verb: str) -> None:
        settings.DJANGO_HOOKFLOW_STEPS_PER_TURN = 3
        done: list[int] = []

        def work(n: int) -> int:
            done.append(n)
            return n

        @workflow(workflow_id="tests.groups.budget")
        def budget(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                handles = [getattr(group, verb)(f"s{n}", work, n) for n in range(10)]
            return [handle.result() for handle in handles]

        run_id = budget.trigger()
        assert hookflow.deliver(run_id).answer in ("suspended", "lost")
        assert len(done) == 3
        run = hookflow.drive(run_id)
        assert (run.result, sorted(done)) == (list(range(10)), list(range(10)))
        assert turns(run_id) == 4

    def test_a_process_that_is_to_stop_begins_no_more(self, hookflow: Hookflow, monkeypatch: Any) -> None:
        done: list[int] = []

        def work(n: int) -> int:
            done.append(n)
            monkeypatch.setattr(stopping, "is_requested", lambda: True)
            return n

        @workflow(workflow_id="tests.groups.stopping")
        def stopped(ctx: WorkflowContext) -> Any:
            return ctx.step.map("n", work, range(50), max_workers=2)

        run_id = stopped.trigger()
        assert hookflow.deliver(run_id).answer == "suspended"
        assert 1 <= len(done) <= 3
        monkeypatch.undo()
        assert hookflow.announced(run_id) is not None
        done.clear()
        monkeypatch.setattr(stopping, "is_requested", lambda: False)
        run = hookflow.drive(run_id)
        assert (run.status, run.result) == ("completed", list(range(50)))

    def test_a_pause_in_the_middle(self, hookflow: Hookflow) -> None:
        done: list[int] = []

        def work(n: int) -> int:
            done.append(n)
            if n == 1:
                WorkflowRun.objects.get(workflow_id="tests.groups.paused").pause()
            return n

        @workflow(workflow_id="tests.groups.paused")
        def paused(ctx: WorkflowContext) -> Any:
            return ctx.step.map("n", work, range(40), max_workers=1)

        run_id = paused.trigger()
        hookflow.deliver(run_id)
        assert run_of(run_id).status == "paused"
        assert done == [0, 1]
        run_of(run_id).resume()
        assert hookflow.drive(run_id).result == list(range(40))
        assert len(done) == 40

    def test_a_worker_that_is_lost_in_the_middle(self, hookflow: Hookflow) -> None:
        @workflow(workflow_id="tests.groups.lost")
        def lost(ctx: WorkflowContext) -> Any:
            return ctx.step.map("n", lambda n: n, range(20))

        hookflow.crash("n[7]", "after")
        run_id = lost.trigger()
        assert hookflow.deliver(run_id).answer == "crashed"
        assert hookflow.drive(run_id).result == list(range(20))
        assert run_of(run_id).step_executions.count() == 20

    def test_rewinding_to_a_step_of_a_group(self, hookflow: Hookflow) -> None:
        done: list[str] = []

        @workflow(workflow_id="tests.groups.rewound")
        def rewound(ctx: WorkflowContext) -> Any:
            ctx.step.map("n", done.append, "abc", key=str, max_workers=1)
            return ctx.step.run("after", lambda: len(done))

        run = hookflow.run(rewound)
        run.rewind(to_step="n[b]")
        assert hookflow.drive(run.run_id).result == 5
        assert done == ["a", "b", "c", "b", "c"]

    @pytest.mark.parametrize("before", [True, False])
    def test_divergence(self, hookflow: Hookflow, before: bool) -> None:
        names = ["a", "b", "c"]

        @workflow(workflow_id="tests.groups.diverging")
        def diverging(ctx: WorkflowContext) -> Any:
            if before:
                ctx.step.map("m", str, names, key=str)
            ctx.step.sleep("pause", 5)
            ctx.step.map("n", str, names, key=str)

        run_id = diverging.trigger()
        hookflow.deliver(run_id)
        names.remove("b")
        run = hookflow.drive(run_id)
        if not before:
            assert run.status == "completed"
            return
        assert run.status == "diverged"
        assert "'m[b]' is recorded" in run.error_message
        assert not WorkflowEvent.objects.filter(step_id="n[a]", type="step.completed").exists()

    def test_in_a_test_s_transaction_all_is_done_in_its_thread(self, hookflow: Hookflow) -> None:
        threads: set[int] = set()

        @workflow(workflow_id="tests.groups.transaction")
        def in_transaction(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel() as group:
                group.run("run", lambda: threads.add(threading.get_ident()))
                group.atomic("atomic", lambda: LedgerEntry.objects.create(account="a", amount=1, reference="r").pk)
            return LedgerEntry.objects.count()

        with transaction.atomic():
            run = hookflow.run(in_transaction)
        assert (run.status, run.result, threads) == ("completed", 1, {threading.get_ident()})


class TestAtomic:
    def test_each_commits_with_its_record_on_a_connection_of_its_own(self, hookflow: Hookflow) -> None:
        backends: set[int] = set()

        def write(n: int) -> int:
            entry = LedgerEntry.objects.create(account=f"a{n}", amount=n, reference="r")
            backends.add(log_connection().connection.info.backend_pid)
            return entry.pk

        @workflow(workflow_id="tests.groups.atomic")
        def atomic(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=3) as group:
                handles = [group.atomic(f"s{n}", write, n) for n in range(12)]
            return [handle.result() for handle in handles]

        run = hookflow.run(atomic)
        assert sorted(run.result or ()) == sorted(LedgerEntry.objects.values_list("pk", flat=True))
        assert LedgerEntry.objects.count() == 12
        connection.ensure_connection()
        assert connection.connection.info.backend_pid not in backends
        assert commits_of_steps(run.run_id) == 12

    def test_what_failed_is_rolled_back(self, hookflow: Hookflow) -> None:
        def write(n: int) -> None:
            LedgerEntry.objects.create(account=f"a{n}", amount=n, reference="r")
            if n % 2:
                raise ValueError("odd")

        @workflow(workflow_id="tests.groups.rolled_back")
        def rolled_back(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(on_error="collect") as group:
                for n in range(6):
                    group.atomic(f"s{n}", write, n)

        assert hookflow.run(rolled_back).status == "completed"
        assert sorted(LedgerEntry.objects.values_list("account", flat=True)) == ["a0", "a2", "a4"]

    def test_deferred_constraints_that_cross_do_not_stand_still(self, hookflow: Hookflow) -> None:
        """Each waits at its commit for what the other has deleted: PostgreSQL sees that, and one is tried again."""
        together = threading.Barrier(2, timeout=20)
        entries = [LedgerEntry.objects.create(account=f"e{n}", amount=n, reference="r") for n in range(2)]
        table = LedgerEntry._meta.db_table
        ask(f"CREATE TABLE tests_refers (entry_id bigint REFERENCES {table} DEFERRABLE INITIALLY DEFERRED)")
        first: set[int] = set()

        def cross(n: int) -> int:
            ask(f"INSERT INTO tests_refers VALUES ({entries[n].pk})")
            LedgerEntry.objects.filter(pk=entries[1 - n].pk).delete()
            if n not in first:
                first.add(n)
                together.wait()
            return n

        @workflow(workflow_id="tests.groups.crossing", retry=AT_ONCE)
        def crossing(ctx: WorkflowContext) -> Any:
            with ctx.step.parallel(max_workers=2, on_error="collect") as group:
                for n in range(2):
                    group.atomic(f"s{n}", cross, n)

        try:
            run = hookflow.run(crossing)
            assert run.status == "completed"
            assert OutboxMessage.objects.count() == 0
        finally:
            ask("DROP TABLE tests_refers")
