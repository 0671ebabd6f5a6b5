"""What the code of steps and workflows does to transactions, and what others do at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection, transaction
from django.test import TestCase

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime.trigger import trigger
from django_hookflow.testing import Hookflow
from tests.log.calls import WORKFLOW, append, ask, session, start, wait_until_blocked
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


def enter() -> None:
    LedgerEntry.objects.create(account="shop", amount=1)


def break_a_deferred_constraint() -> None:
    enter()
    Permission.objects.create(name="refund", codename="refund", content_type_id=999_999)  # found out at the commit


def catch_an_error_of_the_orm() -> None:
    enter()
    try:
        LedgerEntry.objects.create(account="shop", amount=2**40)
    except DatabaseError:
        pass


def catch_an_error_of_a_statement() -> None:
    enter()
    with connection.cursor() as c:
        try:
            c.execute("SELECT 1 / 0")
        except DatabaseError:
            pass


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (break_a_deferred_constraint, "violates foreign key constraint"),
        (catch_an_error_of_the_orm, "a database error was caught inside the transaction"),
        (catch_an_error_of_a_statement, "a database error was caught inside the transaction"),
    ],
)
def test_an_atomic_step_that_spoils_its_transaction_has_failed(
    hookflow: Hookflow, spoil: Callable[[], None], told: str
) -> None:
    @workflow(workflow_id="tests.transactions.spoiling", retry=Retry(max_attempts=2))
    def spoiling(ctx: WorkflowContext) -> None:
        ctx.step.atomic("spoil", spoil)

    run = hookflow.run(spoiling)
    assert (run.status, told in run.error_message) == ("failed", True), run.error_message
    assert hookflow.history(run.run_id)[1:] == [
        "step.failed spoil",
        "step.suspended spoil",
        "step.retried spoil",
        "step.failed spoil",
        "run.failed spoil",
    ]
    assert not LedgerEntry.objects.exists()


class InATestCase(TestCase):
    """Where everything happens in one transaction already."""

    def test_it_is_the_step_that_fails_and_not_the_test(self) -> None:
        @workflow(workflow_id="tests.transactions.spoiling_in_a_test", retry=Retry(max_attempts=1))
        def spoiling(ctx: WorkflowContext) -> None:
            ctx.step.atomic("spoil", catch_an_error_of_a_statement)

        with Hookflow() as hookflow:
            run = hookflow.run(spoiling)
        assert (run.status, LedgerEntry.objects.count()) == ("failed", 0)


def test_an_error_caught_around_a_savepoint_spoils_nothing(hookflow: Hookflow) -> None:
    def catch_it_properly() -> str:
        enter()
        try:
            with transaction.atomic():
                LedgerEntry.objects.create(account="shop", amount=2**40)
        except DatabaseError:
            return "caught"
        return "not raised"

    @workflow(workflow_id="tests.transactions.proper")
    def proper(ctx: WorkflowContext) -> str:
        return ctx.step.atomic("enter", catch_it_properly)

    assert hookflow.run(proper).result == "caught"
    assert LedgerEntry.objects.count() == 1


def begin_by_hand() -> None:
    with connection.cursor() as c:
        c.execute("BEGIN")
    enter()


def turn_autocommit_off() -> None:
    connection.set_autocommit(False)
    enter()


@pytest.mark.parametrize("in_a_step", [True, False], ids=["in a step", "in the workflow"])
@pytest.mark.parametrize("begin", [begin_by_hand, turn_autocommit_off])
def test_a_transaction_left_open_takes_no_record_with_it(
    hookflow: Hookflow, begin: Callable[[], None], in_a_step: bool
) -> None:
    @workflow(workflow_id="tests.transactions.leaving_open")
    def leaving_open(ctx: WorkflowContext) -> None:
        ctx.step.run("first", lambda: None)
        if in_a_step:
            ctx.step.run("begin", begin)
        else:
            begin()

    run_id = leaving_open.trigger()
    assert hookflow.deliver(run_id).answer == "failed"
    connection.close()  # and with it what was not committed
    run = WorkflowRun.objects.get(run_id=run_id)
    assert (run.status, LedgerEntry.objects.count()) == ("failed", 0)
    assert "a transaction was opened manually and not closed" in run.error_message
    failure = ["step.failed begin", "run.failed begin"] if in_a_step else ["run.failed"]
    assert hookflow.history(run_id)[1:] == ["step.completed first", *failure]


def test_a_step_that_raises_in_a_transaction_left_open_is_recorded_as_well(hookflow: Hookflow) -> None:
    def begin_and_raise() -> None:
        begin_by_hand()
        raise ValueError("after all")

    @workflow(workflow_id="tests.transactions.raising_open")
    def raising_open(ctx: WorkflowContext) -> None:
        ctx.step.run("begin", begin_and_raise)

    run_id = raising_open.trigger()
    hookflow.deliver(run_id)
    connection.close()
    assert hookflow.history(run_id)[1:] == ["step.failed begin", "run.failed begin"]
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize("kind", ["run", "atomic", "sleep"])
def test_a_step_inside_a_transaction_of_the_workflow_is_an_error(hookflow: Hookflow, kind: str) -> None:
    @workflow(workflow_id="tests.transactions.around")
    def around(ctx: WorkflowContext) -> None:
        with transaction.atomic():
            enter()
            getattr(ctx.step, kind)("inside", 10 if kind == "sleep" else enter)

    run = hookflow.run(around)
    assert run.status == "failed"
    assert "step 'inside' was called inside a transaction opened by the workflow" in run.error_message
    assert not LedgerEntry.objects.exists()


@contextmanager
def repeatable_read() -> Iterator[int]:
    """This thread's session with another default, as a database or a role may have it; its server process."""
    ask("SET default_transaction_isolation = 'repeatable read'")
    connection.close_at = None  # as with CONN_MAX_AGE = None: an error is no occasion for another connection
    try:
        yield connection.connection.info.backend_pid
    finally:
        connection.close()


def test_under_repeatable_read_what_a_step_came_to_is_recorded_behind_an_operator(hookflow: Hookflow) -> None:
    pids: list[int] = []
    at_work, go_on = threading.Event(), threading.Event()

    def work() -> None:
        at_work.set()
        assert go_on.wait(60)

    @workflow(workflow_id="tests.transactions.isolated")
    def isolated(ctx: WorkflowContext) -> None:
        ctx.step.run("work", work)

    def deliver() -> str:
        with repeatable_read() as pid:
            pids.append(pid)
            return hookflow.deliver(run_id).answer

    run_id = isolated.trigger()
    run_uid = WorkflowRun.objects.get(run_id=run_id).run_uid
    with session() as operator, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(deliver)
        assert at_work.wait(60)
        operator.autocommit = False
        append(run_uid, None, ("run.paused", None, {"reason": ""}), session=operator)
        go_on.set()
        wait_until_blocked(pids[0], "the record of the step waits for the operator")
        operator.commit()
        assert answer.result(60) == "lost"
    assert hookflow.history(run_id) == ["run.triggered", "run.paused", "step.completed work"]


def test_under_repeatable_read_who_is_late_with_a_run_id_is_given_the_run(hookflow: Hookflow) -> None:
    pids: list[int] = []
    ready = threading.Event()

    def trigger_as_well() -> str:
        with repeatable_read() as pid:
            pids.append(pid)
            ready.set()
            return trigger(WORKFLOW, {"n": 1}, "order-1")

    with session() as first, ThreadPoolExecutor(1) as pool:
        first.autocommit = False
        start("order-1", {"n": 1}, session=first)
        run_id = pool.submit(trigger_as_well)
        assert ready.wait(60)
        wait_until_blocked(pids[0], "the second trigger waits for the first")
        first.commit()
        assert run_id.result(60) == "order-1"


def test_under_repeatable_read_an_atomic_step_that_conflicts_with_an_operator_is_tried_again(
    hookflow: Hookflow,
) -> None:
    notes: list[int] = []

    def work() -> None:
        enter()
        if not notes:
            with session() as operator:
                notes.append(append(run_uid, None, ("run.noted", None, {}), session=operator))

    @workflow(workflow_id="tests.transactions.conflicting")
    def conflicting(ctx: WorkflowContext) -> None:
        ctx.step.atomic("work", work)

    run_id = conflicting.trigger()
    run_uid = WorkflowRun.objects.get(run_id=run_id).run_uid
    with repeatable_read():
        run = hookflow.drive(run_id)
    assert run.status == "completed"
    assert hookflow.history(run_id)[1:] == [
        "run.noted",
        "step.failed work",
        "step.suspended work",
        "step.retried work",
        "step.completed work",
        "run.completed",
    ]
    assert LedgerEntry.objects.count() == 1
