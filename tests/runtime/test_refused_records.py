"""What the database refuses to record: a failed attempt of the step, and where even that is refused, a turn handed back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import TestCase

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.backoff import LONGEST, SHORTEST
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.turn import MAX_LOST_TURNS
from django_hookflow.testing import Hookflow
from tests.delivery.servers import running_server
from tests.log.calls import ask, session
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

calls: list[str] = []

TWICE = Retry(max_attempts=2)


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


REFUSES = "RAISE EXCEPTION 'the project refuses %', NEW.type USING ERRCODE = 'check_violation'"


@contextmanager
def refusing(*types: str, by: str = REFUSES) -> Iterator[None]:
    """A trigger of the project's that does this on events of these types."""
    names = ", ".join(f"'{name}'" for name in types)
    ask(
        f"CREATE FUNCTION project_refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {by}; RETURN NEW; END $$;"
        f" CREATE TRIGGER project_refuses BEFORE INSERT ON django_hookflow_event FOR EACH ROW"
        f" WHEN (NEW.type IN ({names})) EXECUTE FUNCTION project_refuses()"
    )
    try:
        yield
    finally:
        ask("DROP FUNCTION project_refuses() CASCADE")


@contextmanager
def session_setting(name: str, value: str) -> Iterator[None]:
    """A timeout as a role or a database sets it: for every connection, the next one, too."""
    with connection.cursor() as c:
        c.execute("SELECT current_user")
        (role,) = c.fetchone()
        c.execute(f'ALTER ROLE "{role}" SET {name} = %s', [value])
    connection.close()
    try:
        yield
    finally:
        connection.close()
        with connection.cursor() as c:
            c.execute("SET statement_timeout = 0")
            c.execute(f'ALTER ROLE "{role}" RESET {name}')
        connection.close()


def enter() -> str:
    calls.append("enter")
    LedgerEntry.objects.create(account="shop", amount=1)
    return "entered"


def facts_of(hookflow: Hookflow, run_id: str, type_: str) -> list[dict[str, Any]]:
    return [event.facts for event in hookflow.events(run_id) if event.type == type_]


@pytest.mark.parametrize("kind", ["run", "atomic", "call"])
def test_a_refused_record_is_a_failed_attempt_and_in_the_end_a_dead_letter(hookflow: Hookflow, kind: str) -> None:
    @workflow(workflow_id=f"tests.refused.{kind}", retry=Retry(max_attempts=3))
    def refused(ctx: WorkflowContext) -> None:
        if kind == "call":
            ctx.step.call("work", url)
        else:
            getattr(ctx.step, kind)("work", enter)

    with running_server() as server, refusing("step.completed"):
        url = server.url
        run = hookflow.run(refused)
        times = len(server.received) if kind == "call" else len(calls)
    assert (run.status, times) == ("failed", 3)
    assert [facts["attempt"] for facts in facts_of(hookflow, run.run_id, "step.failed")] == [1, 2, 3]
    entry = DeadLetterEntry.objects.get()
    assert (entry.step_id, entry.attempt_count, entry.error_type) == ("work", 3, "django.db.utils.IntegrityError")
    assert "the project refuses step.completed" in entry.error_message
    assert LedgerEntry.objects.count() == (3 if kind == "run" else 0)


def test_what_passes_before_the_policy_is_used_up_does_no_harm(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.once", retry=TWICE)
    def once(ctx: WorkflowContext) -> str:
        return ctx.step.atomic("work", enter)

    run_id = once.trigger()
    with refusing("step.completed"):
        assert hookflow.deliver(run_id).answer == "suspended"
    run = hookflow.drive(run_id)
    assert (run.status, run.result, LedgerEntry.objects.count()) == ("completed", "entered", 1)


def test_a_role_without_the_right_fails_the_attempt(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.right", retry=TWICE)
    def unprivileged(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    denied = "RAISE EXCEPTION 'permission denied for table stock' USING ERRCODE = 'insufficient_privilege'"
    with refusing("step.completed", by=denied):
        run = hookflow.run(unprivileged)
    assert (run.status, run.error_type, calls) == ("failed", "django.db.utils.ProgrammingError", ["enter"] * 2)
    assert "permission denied" in run.error_message


@pytest.mark.parametrize("then", [lambda: None, enter], ids=["writes nothing after it", "writes after it"])
def test_an_atomic_step_that_idles_longer_than_its_session_may_has_failed(
    hookflow: Hookflow, then: Callable[[], Any]
) -> None:
    def dawdle() -> None:
        enter()
        time.sleep(0.6)  # the server's own clock is what ends the session
        then()

    @workflow(workflow_id="tests.refused.idle", retry=TWICE)
    def idle(ctx: WorkflowContext) -> None:
        ctx.step.atomic("dawdle", dawdle)

    with session_setting("idle_in_transaction_session_timeout", "200ms"):
        run = hookflow.run(idle)
    assert (run.status, LedgerEntry.objects.count()) == ("failed", 0)
    attempts = [facts["attempt"] for facts in facts_of(hookflow, run.run_id, "step.failed")]
    if not attempts and psycopg.__version__.startswith("3.1."):
        # psycopg 3.1 may lose the server's last words, and a session that is cut without a reason loses the turn.
        assert "turns in a row made no progress" in run.error_message
        return
    assert attempts == [1, 2]
    assert "idle-in-transaction timeout" in run.error_message


def test_a_record_longer_than_a_statement_may_take_has_failed(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.slow", retry=TWICE)
    def slow(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    with refusing("step.completed", by="PERFORM pg_sleep(30)"), session_setting("statement_timeout", "300ms"):
        run = hookflow.run(slow)
    assert (run.status, len(calls)) == ("failed", 2)
    assert "statement timeout" in run.error_message


def test_a_record_that_waits_longer_for_a_lock_than_it_may_has_failed(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.locked", retry=TWICE)
    def locked(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    with session() as reporter:
        reporter.autocommit = False
        reporter.execute("SELECT pg_advisory_xact_lock(1)")
        waits = "PERFORM pg_advisory_xact_lock(1)"
        with refusing("step.completed", by=waits), session_setting("lock_timeout", "200ms"):
            run = hookflow.run(locked)
    assert (run.status, len(calls)) == ("failed", 2)
    assert "lock timeout" in run.error_message


def test_a_refused_end_is_the_failure_of_the_workflow(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.end", retry=TWICE)
    def ending(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    with refusing("run.completed"):
        run = hookflow.run(ending)
    assert (run.status, calls) == ("failed", ["enter"])
    assert [facts["attempt"] for facts in facts_of(hookflow, run.run_id, "turn.failed")] == [1]
    entry = DeadLetterEntry.objects.get()
    assert (entry.step_id, entry.attempt_count) == ("", 2)
    assert "the project refuses run.completed" in entry.error_message
    entry.replay()
    assert hookflow.drive(run.run_id).status == "completed"


def pauses(hookflow: Hookflow, run_id: str, times: int) -> list[float]:
    """Delivers ``times`` times what is handed back each time; for how long it was, in seconds."""
    found = []
    for _ in range(times):
        result = hookflow.deliver(run_id)
        assert result.answer == "lost", result
        [row] = ask("SELECT extract(epoch FROM send_at - hookflow_now())::float8 AS pause FROM django_hookflow_outbox")
        found.append(row["pause"])
    return found


def test_when_the_failure_is_refused_as_well_the_turn_is_handed_back_later_each_time(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.failure", retry=TWICE)
    def hopeless(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    run_id = hopeless.trigger()
    with refusing("step.completed", "step.failed"):
        found = pauses(hookflow, run_id, MAX_LOST_TURNS)
        longest = [min(LONGEST, SHORTEST * 2**turn) for turn in range(MAX_LOST_TURNS)]
        # The spread of a backoff is a quarter; a second goes by between the clock's two readings.
        assert all(most * 0.75 - 1 <= pause <= most for pause, most in zip(found, longest, strict=True)), found
        assert len(calls) == MAX_LOST_TURNS
        assert hookflow.deliver(run_id).answer == "failed"
    assert len(calls) == MAX_LOST_TURNS, "the run is given up before it does any more"
    entry = DeadLetterEntry.objects.get()
    assert (entry.attempt_count, entry.step_id) == (MAX_LOST_TURNS, "")
    assert "10 turns in a row" in entry.error_message
    entry.replay()
    assert hookflow.drive(run_id).status == "completed"


def test_a_relay_takes_what_was_handed_back_up_again_only_after_the_pause(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.relayed", retry=TWICE)
    def hopeless(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    hopeless.trigger()
    relay = Relay("inline", receive)
    with refusing("step.completed", "step.failed"):
        for turn in range(1, 5):
            relay.run_once()
            relay.run_once()
            assert (relay.sent, relay.failed, len(calls)) == (0, turn, turn)
            hookflow.advance(2**turn)


def test_a_run_that_may_not_even_fail_waits_until_the_database_lets_it(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.all", retry=TWICE)
    def hopeless(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    run_id = hopeless.trigger()
    with refusing("step.completed", "step.failed", "run.failed"):
        found = pauses(hookflow, run_id, MAX_LOST_TURNS + 3)
    assert len(calls) == MAX_LOST_TURNS
    assert min(found[MAX_LOST_TURNS:]) > 60
    assert hookflow.deliver(run_id).answer == "failed"


def test_lost_and_handed_back_turns_count_towards_one_limit(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.mixed", retry=TWICE)
    def unlucky(ctx: WorkflowContext) -> None:
        ctx.step.run("work", enter)

    run_id = unlucky.trigger()
    hookflow.crash("work", "before", times=MAX_LOST_TURNS // 2)
    for _ in range(MAX_LOST_TURNS // 2):
        assert hookflow.deliver(run_id).answer == "crashed"
        hookflow.advance(61)
    with refusing("step.completed", "step.failed"):
        pauses(hookflow, run_id, MAX_LOST_TURNS - MAX_LOST_TURNS // 2)
        assert hookflow.deliver(run_id).answer == "failed"


def test_a_lost_fence_is_no_failed_attempt(hookflow: Hookflow) -> None:
    def be_overtaken() -> None:
        calls.append("work")
        with session() as other:
            other.execute("UPDATE django_hookflow_head SET fence_seq = last_seq + 1, last_seq = last_seq + 1")

    @workflow(workflow_id="tests.refused.fence", retry=TWICE)
    def fenced(ctx: WorkflowContext) -> None:
        ctx.step.run("work", be_overtaken)

    run_id = fenced.trigger()
    assert hookflow.deliver(run_id).answer == "lost"
    assert hookflow.history(run_id) == ["run.triggered"]


@pytest.mark.parametrize("kind", ["run", "atomic"])
def test_a_lost_connection_is_no_failed_attempt_of_its_own(hookflow: Hookflow, kind: str) -> None:
    """A plain step is recorded on the next connection; an atomic one, whose writes went with the first, runs again."""

    def cut() -> str:
        calls.append("work")
        LedgerEntry.objects.create(account="shop", amount=1)
        if len(calls) == 1:
            with session() as other:
                other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        return "done"

    @workflow(workflow_id=f"tests.refused.cut.{kind}", retry=TWICE)
    def cut_off(ctx: WorkflowContext) -> str:
        result: str = getattr(ctx.step, kind)("work", cut)
        return result

    run = hookflow.run(cut_off)
    assert (run.status, run.result, LedgerEntry.objects.count()) == ("completed", "done", 1)
    assert facts_of(hookflow, run.run_id, "step.failed") == []
    assert len(calls) == (1 if kind == "run" else 2)


def test_a_refused_intent_is_a_failed_attempt_of_what_was_not_done(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.intent", retry=TWICE)
    def posting(ctx: WorkflowContext) -> None:
        ctx.step.call("work", server.url, "POST")

    with running_server() as server, refusing("step.intended"):
        run = hookflow.run(posting)
        assert server.received == []
    assert (run.status, DeadLetterEntry.objects.get().step_id) == ("failed", "work")
    assert [facts["attempt"] for facts in facts_of(hookflow, run.run_id, "step.failed")] == [1, 2]
    assert "the project refuses step.intended" in run.error_message


def test_a_refused_sleep_is_a_failed_attempt_and_the_same_in_a_replay(hookflow: Hookflow) -> None:
    caught: list[str] = []

    @workflow(workflow_id="tests.refused.sleep", retry=Retry(max_attempts=1))
    def sleepless(ctx: WorkflowContext) -> None:
        try:
            ctx.step.sleep("nap", 60)
        except WorkflowError as error:
            caught.append(str(error))
        ctx.step.run("work", enter)
        ctx.step.sleep("another", 60)

    run_id = sleepless.trigger()
    with refusing("step.suspended"):
        assert hookflow.deliver(run_id).answer == "failed"
    assert DeadLetterEntry.objects.get().step_id == "another"
    DeadLetterEntry.objects.get().replay()
    assert hookflow.drive(run_id).status == "completed"
    assert (calls, len(caught), len(set(caught))) == (["enter"], 3, 1)


def test_a_refused_doubt_is_not_forgotten(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.refused.doubt", retry=TWICE)
    def doubtful(ctx: WorkflowContext) -> None:
        ctx.step.options(on_doubt="ask").run("work", enter)

    run_id = doubtful.trigger()
    hookflow.crash("work", "before")
    assert hookflow.deliver(run_id).answer == "crashed"
    hookflow.advance(61)
    with refusing("step.suspended"):
        pauses(hookflow, run_id, 2)
    assert hookflow.drive(run_id).status == "in_doubt"
    assert calls == []


def test_a_commit_without_an_answer_is_no_failed_attempt(hookflow: Hookflow) -> None:
    """Nobody knows whether an atomic step is recorded then, until the run is claimed again."""

    @workflow(workflow_id="tests.refused.commit", retry=TWICE)
    def unanswered(ctx: WorkflowContext) -> str:
        return ctx.step.atomic("work", enter)

    run_id = unanswered.trigger()
    table = LedgerEntry._meta.db_table
    ask(
        "CREATE FUNCTION project_ends() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        f" CREATE CONSTRAINT TRIGGER project_ends AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION project_ends()"
    )
    try:
        assert hookflow.deliver(run_id).answer == "lost"
    finally:
        ask("DROP FUNCTION project_ends() CASCADE")
    assert hookflow.history(run_id) == ["run.triggered"]
    assert hookflow.drive(run_id).status == "completed"
    assert (calls, LedgerEntry.objects.count()) == (["enter"] * 2, 1)


class InATestCase(TestCase):
    """Where a test is in a transaction already, a refusal does not take that with it."""

    def test_a_refused_record(self) -> None:
        @workflow(workflow_id="tests.refused.in_a_test", retry=TWICE)
        def refused(ctx: WorkflowContext) -> None:
            ctx.step.run("work", enter)

        with Hookflow() as hookflow, refusing("step.completed"):
            run = hookflow.run(refused)
            assert run.status == "failed"
            assert "the project refuses step.completed" in run.error_message

    def test_an_operator_in_mid_step(self) -> None:
        @workflow(workflow_id="tests.refused.paused_in_a_test", retry=Retry(max_attempts=2, first_delay=5))
        def paused(ctx: WorkflowContext) -> None:
            ctx.step.run("work", pause)

        def pause() -> None:
            calls.append("work")
            if len(calls) == 1:
                WorkflowRun.objects.get(run_id=run_id).pause()
                raise OSError

        with Hookflow() as hookflow:
            run_id = paused.trigger()
            assert hookflow.deliver(run_id).answer == "lost"
            assert WorkflowRun.objects.get(run_id=run_id).status == "paused"
            assert hookflow.history(run_id) == [
                "run.triggered",
                "run.paused",
                "step.failed work",
                "step.suspended work",
            ]
