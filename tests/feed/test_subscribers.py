"""Functions that subscribe: what they are handed, when, and what becomes of what they write."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from django_hookflow import on_event, testing
from django_hookflow.backoff import backoff_seconds
from django_hookflow.feed import delivering, subscribers
from django_hookflow.feed.delivering import Delivery
from django_hookflow.feed.subscribers import InvalidSubscription, Subscription, registered_subscriptions
from django_hookflow.models import Subscriber, WorkflowEvent, WorkflowRun
from django_hookflow.registry import workflow
from tests.feed.reading import add, last_position, new_run, open_transaction
from tests.log.calls import append, ask, session
from tests.testapp.models import LedgerEntry
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Subscribe = Callable[..., Delivery]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No subscriptions but the test's own."""
    monkeypatch.setattr(subscribers, "_subscriptions", {})


@pytest.fixture
def advance() -> Iterator[Callable[[float], None]]:
    with testing.Hookflow() as kit:
        yield kit.advance


def write_down(event: WorkflowEvent) -> None:
    LedgerEntry.objects.create(account=event.step_id or "", amount=event.seq, reference=event.run_id)


def subscribed(handler: Any = write_down, *types: str, name: str = "ledger", from_start: bool = False) -> Delivery:
    delivery = Delivery([Subscription(name, types or ("step.completed",), handler, from_start)])
    if not from_start:
        delivery.run_once()
    return delivery


def written() -> list[str]:
    return [entry.account for entry in LedgerEntry.objects.order_by("pk")]


def test_it_is_handed_what_comes_after_its_first_pass() -> None:
    uid = new_run("order-1")
    add(uid, "before")
    delivery = subscribed()
    add(uid, "a", "b")
    append(uid, None, ("run.completed", None, {}))
    delivery.run_once()
    delivery.run_once()
    assert written() == ["a", "b"]
    assert {entry.reference for entry in LedgerEntry.objects.all()} == {"order-1"}
    assert delivery.handed == 2


def test_or_everything_there_is() -> None:
    add(new_run(), "before")
    subscribed(from_start=True).run_once()
    assert written() == ["before"]


def test_all_types_or_several() -> None:
    seen: list[str] = []
    uid = new_run()
    every = subscribed(lambda event: seen.append(event.type), "*", name="every")
    some = subscribed(lambda event: seen.append(event.type), "run.failed", "run.completed", name="some")
    add(uid, "a")
    append(uid, None, ("run.completed", None, {}))
    every.run_once()
    assert seen == ["step.completed", "run.completed"]
    some.run_once()
    assert seen == ["step.completed", "run.completed", "run.completed"]


def test_another_process_goes_on_where_this_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "EVENTS_PER_PASS", 2)
    uid = new_run()
    first = subscribed()
    add(uid, *"abcde")
    first._attend(first.subscriptions[0])
    assert written() == ["a", "b"]
    Delivery(first.subscriptions).run_once()
    assert written() == list("abcde")


def test_what_commits_late_is_handed_over_late() -> None:
    a, b = new_run(), new_run()
    delivery = subscribed()
    with open_transaction() as slow:
        add(a, "drawn first", within=slow)
        add(b, "drawn second")
        delivery.run_once()
        slow.commit()
    delivery.run_once()
    assert written() == ["drawn second", "drawn first"]


def test_an_exception_rolls_back_its_event_keeps_those_before_and_is_tried_again(
    advance: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        if event.step_id == "b" and broken:
            raise RuntimeError("the pager is away")

    uid = new_run("order-1")
    delivery = subscribed(handle)
    add(uid, *"abc")
    with caplog.at_level(logging.ERROR, logger="django_hookflow.feed"):
        delivery.run_once()
    assert written() == ["a"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "subscriber ledger failed on event 3 of run order-1 (step.completed), attempt 1; it will be retried later"
    )
    row = Subscriber.objects.get()
    assert (row.failures, row.last_error) == (1, "RuntimeError: the pager is away")
    delivery.run_once()
    assert Subscriber.objects.get().failures == 1, "not before its time"
    for failures in (2, 3):
        advance(400)
        delivery.run_once()
        assert Subscriber.objects.get().failures == failures
    assert written() == ["a"]
    broken = False
    advance(400)
    delivery.run_once()
    assert written() == ["a", "b", "c"]
    row = Subscriber.objects.get()
    assert (row.failures, row.last_error, row.retry_at) == (0, "", None)


def test_what_a_handler_appends_is_handed_over_whatever_commits_beside_it() -> None:
    """Another transaction, younger than the subscriber's, ends between its first statement and its look at the log."""
    uid, echoes, others = new_run(), new_run(), new_run()
    beside = ["beside"]

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        if event.workflow_run_id == uid:
            add(echoes, f"echo of {event.step_id}")

    def commit_beside(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if beside and "pg_current_snapshot" in sql:
            with session() as another:
                add(others, beside.pop(), within=another)
        return execute(sql, params, many, context)

    delivery = subscribed(handle)
    add(uid, "a")
    with connection.execute_wrapper(commit_beside):
        delivery.run_once()
    delivery.run_once()
    assert sorted(written()) == ["a", "beside", "echo of a"]


def test_a_database_error_is_an_exception_like_any_other(advance: Callable[[float], None]) -> None:
    broken = True

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        if broken:
            with connection.cursor() as c:
                c.execute("SELECT 1/0")

    uid = new_run()
    delivery = subscribed(handle)
    add(uid, "a")
    delivery.run_once()
    assert (delivery.failed, written()) == (1, [])
    broken = False
    advance(400)
    delivery.run_once()
    assert written() == ["a"]


@pytest.fixture
def accounts() -> Iterator[None]:
    """A foreign key as Django makes them, which is looked at when the transaction ends."""
    with session() as owner:
        owner.execute("CREATE TABLE feed_account (name text PRIMARY KEY)")
        owner.execute("CREATE TABLE feed_booking (name text REFERENCES feed_account DEFERRABLE INITIALLY DEFERRED)")
        yield
        owner.execute("DROP TABLE feed_booking, feed_account")


@pytest.mark.usefixtures("accounts")
def test_what_is_checked_at_a_commit_is_checked_after_each_event(
    advance: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "SECONDS_PER_PASS", 60.0)

    def book(event: WorkflowEvent) -> None:
        with connection.cursor() as c:
            c.execute("INSERT INTO feed_booking VALUES (%s)", [event.step_id])
            if event.step_id != "bad":  # a constraint may be broken in between
                c.execute("INSERT INTO feed_account VALUES (%s)", [event.step_id])

    uid = new_run()
    subscribed(book, name="a-bad-one")
    subscribed(name="z-good-one")
    both = Delivery(
        [
            Subscription("a-bad-one", ("step.completed",), book, False),
            Subscription("z-good-one", ("step.completed",), write_down, False),
        ]
    )
    add(uid, "a", "b", "bad")
    both._go_round()
    assert written() == ["a", "b", "bad"], "the others go on"
    booked = "SELECT string_agg(name, ' ' ORDER BY name) AS names FROM feed_booking"
    assert ask(booked) == [{"names": "a b"}], "what was handed over before it stays"
    row = Subscriber.objects.get(name="a-bad-one")
    assert row.failures == 1
    assert "violates foreign key constraint" in row.last_error
    assert row.retry_at is not None
    with session() as other:
        other.execute("INSERT INTO feed_account VALUES ('bad')")
    advance(400)
    both.run_once()
    assert ask(booked) == [{"names": "a b bad"}]


def test_a_handler_that_has_swallowed_a_database_error_has_failed() -> None:
    """Django rolls back what it wrote, so it is not taken for done."""
    taken = LedgerEntry.objects.create(account="taken", amount=0)

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        with contextlib.suppress(IntegrityError):
            LedgerEntry(pk=taken.pk, account="twice", amount=0).save(force_insert=True)

    uid = new_run()
    delivery = subscribed(handle)
    add(uid, "a")
    delivery.run_once()
    assert (written(), delivery.handed, delivery.failed) == (["taken"], 0, 1)
    assert Subscriber.objects.get().last_error.startswith("TransactionManagementError: ")


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "stored"),
    [
        (FileNotFoundError("invoice-\udcff.pdf"), "FileNotFoundError: invoice-\\udcff.pdf"),
        (ValueError("a\x00b"), "ValueError: ab"),
        (Unreadable(), "Unreadable: (its text could not be read: RuntimeError)"),
    ],
    ids=["surrogate", "zero byte", "unreadable"],
)
def test_an_error_is_stored_whatever_its_text(error: Exception, stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is logged would be captured, and a parallel test run cannot pass on a lone surrogate.
    monkeypatch.setattr(delivering.logger, "disabled", True)

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        if event.step_id == "b":
            raise error

    uid = new_run()
    delivery = subscribed(handle)
    add(uid, "a", "b")
    delivery.run_once()
    assert written() == ["a"]
    row = Subscriber.objects.get()
    assert (row.failures, row.last_error) == (1, stored)


def test_what_fails_after_the_commit_is_logged_and_not_done_again(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("no broker")

    def handle(event: WorkflowEvent) -> None:
        write_down(event)
        transaction.on_commit(fail)

    uid = new_run()
    delivery = subscribed(handle)
    add(uid, "a")
    with caplog.at_level(logging.ERROR, logger="django_hookflow.feed"):
        delivery.run_once()
    assert [record.getMessage() for record in caplog.records] == [
        "subscriber ledger: its position was saved, but a later action failed"
    ]
    delivery.run_once()
    assert (written(), delivery.failed) == (["a"], 1)


def test_a_server_that_lost_its_last_transactions_is_looked_at_anew() -> None:
    """After a failover positions come again that the reader took for settled; where it stands, the database says."""
    uid = new_run()
    delivery = subscribed()
    add(uid, "a")

    def is_settled() -> bool:  # when what tests in other databases have open has ended
        delivery._go_round()
        return "ledger" in delivery._settled

    wait_until(is_settled, "a is handed over and settled", timeout=60)
    before = last_position()
    (earlier,) = ask("SELECT checkpoint::text FROM django_hookflow_subscriber")
    with session() as owner:
        owner.execute("SELECT setval('django_hookflow_event_position_seq', %s)", [before + 100])
    wait_until(is_settled, "the gap is settled", timeout=60)
    with session() as owner:  # the other server has the same log up to "a", and nothing of what came after
        owner.execute("UPDATE django_hookflow_subscriber SET checkpoint = %s", [earlier["checkpoint"]])
        owner.execute("SELECT setval('django_hookflow_event_position_seq', %s)", [before])
        (pid,) = ask("SELECT pg_backend_pid() AS pid")
        owner.execute("SELECT pg_terminate_backend(%s)", [pid["pid"]])
        still_there = "SELECT FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: not ask(still_there, pid["pid"], session=owner), "the connection is gone")
    assert delivery._go_round() == delivering.OUTAGE
    add(uid, "b")
    delivery._go_round()
    assert written() == ["a", "b"]


def test_the_wait_doubles_up_to_five_minutes() -> None:
    for failures, longest in ((1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (1000, 300)):
        assert 0.75 * longest <= backoff_seconds(failures) <= longest


def test_one_that_fails_does_not_keep_others_waiting() -> None:
    def refuse(event: WorkflowEvent) -> None:
        raise RuntimeError

    uid = new_run()
    subscribed(refuse, name="a-bad-one")
    subscribed(name="z-good-one")
    both = Delivery(
        [
            Subscription("a-bad-one", ("step.completed",), refuse, False),
            Subscription("z-good-one", ("step.completed",), write_down, False),
        ]
    )
    add(uid, "a", "b")
    both.run_once()
    assert written() == ["a", "b"]
    assert (both.handed, both.failed) == (2, 1)


def test_a_run_that_a_handler_starts_is_started_once(advance: Callable[[float], None]) -> None:
    """Triggering is a write to the same database: it commits with the place in the log."""
    broken = True

    @workflow(workflow_id="tests.feed.apology")
    def apologise(ctx: Any) -> None: ...

    def handle(event: WorkflowEvent) -> None:
        apologise.trigger({"for": event.run_id})
        if broken:
            raise RuntimeError("too late")

    uid = new_run("order-1")
    delivery = subscribed(handle)
    add(uid, "a")
    delivery.run_once()
    assert not WorkflowRun.objects.filter(workflow_id="tests.feed.apology").exists()
    broken = False
    advance(400)
    delivery.run_once()
    delivery.run_once()
    assert WorkflowRun.objects.get(workflow_id="tests.feed.apology").data == {"for": "order-1"}


def test_a_pass_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "SECONDS_PER_PASS", -1.0)
    uid = new_run()
    delivery = subscribed()
    add(uid, *"abc")
    delivery._attend(delivery.subscriptions[0])
    assert written() == ["a"]
    delivery.run_once()
    assert written() == ["a", "b", "c"]


def test_a_subscriber_in_the_hands_of_another_process_is_left_to_it() -> None:
    uid = new_run()
    delivery = subscribed()
    add(uid, "a")
    with session() as other:
        other.autocommit = False
        other.execute("SELECT FROM django_hookflow_subscriber FOR NO KEY UPDATE")
        delivery.run_once()
        assert written() == []
        other.rollback()
    delivery.run_once()
    assert written() == ["a"]


def test_with_nothing_new_a_round_is_one_query(django_assert_num_queries: Any) -> None:
    """Part of scenario 24: however many subscribers there are."""
    uid = new_run()
    subscriptions = [Subscription(name, ("step.completed",), write_down, False) for name in "abc"]
    delivery = Delivery(subscriptions)
    delivery.run_once()
    add(uid, "a")

    def is_settled() -> bool:  # when what tests in other databases have open has ended
        delivery._go_round()
        return not delivery._find_waiting()

    wait_until(is_settled, "all is handed over and settled", timeout=60)
    with django_assert_num_queries(1):
        delivery._go_round()
    assert len(written()) == 3


def test_names_and_types_are_checked_where_they_are_written() -> None:
    @on_event("run.failed", name="pager")
    def page(event: WorkflowEvent) -> None: ...

    with pytest.raises(InvalidSubscription) as refused:

        @on_event("run.completed", name="pager")
        def page_more(event: WorkflowEvent) -> None: ...

    here = "tests.feed.test_subscribers.test_names_and_types_are_checked_where_they_are_written.<locals>"
    assert str(refused.value) == (
        f"the name 'pager' is already used by {here}.page: give {here}.page_more another name, because the name identifies "
        f"a position in the log"
    )
    on_event("run.failed", "run.diverged", name="pager")(page)  # a module imported again
    with pytest.raises(InvalidSubscription, match="subscribes to nothing: pass one or more event types, as in @on"):
        on_event(name="nothing")(page)
    with pytest.raises(InvalidSubscription, match="the name must be a string of 1 to 200 characters"):
        on_event("*", name="")(page)
    with pytest.raises(InvalidSubscription, match=r"page_later is a coroutine function, .* use a sync function"):

        @on_event("*", name="later")
        async def page_later(event: WorkflowEvent) -> None: ...

    assert [subscription.types for subscription in registered_subscriptions()] == [("run.failed", "run.diverged")]


def test_the_list_shows_how_far_each_has_come(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(event: WorkflowEvent) -> None:
        raise RuntimeError("no")

    on_event("run.failed", "run.cancelled", name="new")(write_down)
    on_event("step.completed", name="stuck")(refuse)
    uid = new_run()
    Delivery([Subscription("stuck", ("step.completed",), refuse, False)]).run_once()
    subscribed(name="gone")
    add(uid, "a")
    Delivery([Subscription("stuck", ("step.completed",), refuse, False)]).run_once()
    call_command("hookflow_subscribers", "--list")
    drawn = last_position()
    gone, new, stuck = capsys.readouterr().out.splitlines()
    assert gone == f"gone (no function in this project has this name): read to position {drawn - 1} of {drawn}"
    assert new == "new (run.failed, run.cancelled): not run yet"
    assert stuck.startswith(
        f"stuck (step.completed): read to position {drawn - 1} of {drawn}, failed 1 times in a row, next attempt at 20"
    )
    assert stuck.endswith(": RuntimeError: no")
