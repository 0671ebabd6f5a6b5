"""The relay in this process: passes, the loop, backoff, and how little it asks of the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections

from django_hookflow.backoff import backoff_seconds
from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.relay import Relay
from django_hookflow.delivery.transports.base import SendFailed, Undeliverable
from tests.delivery.conftest import Announce, outbox_row
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
Advance = Callable[[float], None]


@dataclass(frozen=True)
class Ended:
    answer: str = "completed"
    retry_after: float | None = None


class Turns:
    """Stands where a turn is run: records, and does what the test says to be done."""

    def __init__(self, behave: Callable[[str], Ended] = lambda run_id: Ended()) -> None:
        self.ran: list[str] = []
        self._behave = behave

    def __call__(
        self, kind: str, workflow_id: str, run_id: str, seq: int, *, delivery: dict[str, object], claim: object = None
    ) -> Ended:
        self.ran.append(run_id)
        return self._behave(run_id)


class Gate:
    """Holds turns until it is opened, and knows how many are waiting."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, run_id: str) -> Ended:
        with self._lock:
            self.waiting += 1
        assert self.open.wait(30)
        return Ended()


@contextmanager
def running(relay: Relay, *wrappers: Any) -> Iterator[None]:
    """The relay's loop in a thread of its own; ``wrappers`` see each of its statements."""

    def run() -> None:
        try:
            with ExitStack() as stack:
                for wrapper in wrappers:
                    stack.enter_context(connection.execute_wrapper(wrapper))
                relay.run_forever()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        relay.stop()
        thread.join(30)
        assert not thread.is_alive()


def run_once(relay: Relay) -> None:
    """One pass, as the body of a thread."""
    try:
        relay.run_once()
    finally:
        connections.close_all()


def raise_(error: BaseException) -> Ended:
    raise error


class TestOnePass:
    def test_everything_due_is_sent(self, announce: Announce) -> None:
        for i in range(20):
            announce(f"order-{i}")
        announce("tomorrow", delay=86_400)
        turns = Turns()

        relay = Relay("inline", turns, concurrency=3)

        assert relay.run_once() == 20
        assert sorted(turns.ran) == sorted(f"order-{i}" for i in range(20))
        assert (relay.sent, relay.failed) == (20, 0)

    def test_nothing_due_is_no_work(self) -> None:
        assert Relay("inline", Turns()).run_once() == 0

    def test_what_fails_is_put_off_and_not_tried_again_in_the_same_pass(self, announce: Announce) -> None:
        bad = announce("bad")
        announce("good")
        turns = Turns(lambda run_id: raise_(OSError("no disk")) if run_id == "bad" else Ended())

        relay = Relay("inline", turns)

        assert relay.run_once() == 1
        assert relay.failed == 1
        assert sorted(turns.ran) == ["bad", "good"]
        assert outbox_row(bad)["send_in"] == pytest.approx(0.9, abs=0.9)

    def test_no_more_are_taken_than_can_be_sent_at_once(self, announce: Announce) -> None:
        """Else what waits behind a slow one would be withheld from relays that have hands free."""
        messages = [announce(f"order-{i}") for i in range(5)]
        gate = Gate()
        relay = Relay("inline", Turns(gate), concurrency=2)
        thread = threading.Thread(target=run_once, args=(relay,))
        thread.start()
        wait_until(lambda: gate.waiting == 2, "both workers are at work")

        attempts = [outbox_row(message)["attempts"] for message in messages]
        gate.open.set()
        thread.join()

        assert attempts == [1, 1, 0, 0, 0]
        assert relay.sent == 5

    def test_two_relays_share_the_work(self, announce: Announce) -> None:
        for i in range(30):
            announce(f"order-{i}")
        turns = Turns()
        relays = [Relay("inline", turns, concurrency=2) for _ in range(2)]
        threads = [threading.Thread(target=run_once, args=(relay,)) for relay in relays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(turns.ran) == sorted(f"order-{i}" for i in range(30))

    def test_no_transaction_is_open_while_a_message_is_sent(self, announce: Announce) -> None:
        announce("order-1")
        states: list[tuple[bool, int]] = []

        def look(run_id: str) -> Ended:
            with connection.cursor() as c:
                c.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
                    " AND pid <> pg_backend_pid()"
                )
                states.append((connection.in_atomic_block, c.fetchone()[0]))
            return Ended()

        Relay("inline", Turns(look)).run_once()

        assert states == [(False, 0)]

    def test_workers_leave_no_connection_behind(self, announce: Announce) -> None:
        for i in range(8):
            announce(f"order-{i}")

        def use_the_database(run_id: str) -> Ended:
            with connection.cursor() as c:
                c.execute("SELECT 1")
            return Ended()

        Relay("inline", Turns(use_the_database), concurrency=4).run_once()

        def count() -> bool:
            with connection.cursor() as c:
                c.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
                )
                return bool(c.fetchone()[0] == 1)

        assert wait_until(count, "only this connection is left")


class TestFailures:
    @pytest.mark.parametrize(
        ("failure", "low", "high"),
        [
            (SendFailed("no"), 0, 1),
            (SendFailed("no", retry_after=77), 70, 77),
            (SendFailed("no", retry_after=0), -5, 0),
            (Undeliverable("never"), 86_000, 86_400),
            (SystemExit(3), 0, 1),
            (KeyError("bug"), 0, 1),
        ],
        ids=["failed", "says when", "at once", "never", "exit", "bug"],
    )
    def test_the_message_comes_due_again(
        self, announce: Announce, failure: BaseException, low: float, high: float
    ) -> None:
        message = announce("order-1")

        class Failing:
            name, publishes_on_commit, max_delay = "failing", False, 0.0

            def check_configured(self) -> None: ...

            def withdraw(self, run_uid: UUID) -> None: ...

            def send(self, message: Message) -> None:
                raise failure

        relay = Relay(Failing())

        assert relay.run_once() == 0
        assert relay.failed == 1
        send_in = outbox_row(message)["send_in"]
        assert send_in is not None
        assert low - 1 <= send_in <= high

    def test_a_turn_that_wants_another_delivery_is_put_off_by_as_much(self, announce: Announce) -> None:
        message = announce("order-1")

        Relay("inline", Turns(lambda run_id: Ended("lost", 40.0))).run_once()

        assert outbox_row(message)["send_in"] == pytest.approx(40, abs=3)

    def test_backoff_doubles_up_to_five_minutes_and_is_spread(self) -> None:
        for attempt, longest in ((1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)):
            waits = [backoff_seconds(attempt) for _ in range(200)]
            assert longest * 0.75 <= min(waits) < max(waits) <= longest


class TestTheLoop:
    def test_what_is_announced_while_it_runs_is_sent(self, announce: Announce) -> None:
        turns = Turns()
        with running(Relay("inline", turns)):
            announce("first")
            wait_until(lambda: turns.ran == ["first"], "the first is sent")
            announce("second", delay=0.3)
            wait_until(lambda: turns.ran == ["first", "second"], "the second is sent when due")

    def test_a_failed_message_is_sent_again_until_it_arrives(self, announce: Announce) -> None:
        announce("order-1")
        turns = Turns(lambda run_id: Ended() if len(turns.ran) > 2 else Ended("lost", 0.05))
        with running(Relay("inline", turns)):
            wait_until(lambda: len(turns.ran) == 3, "the third attempt")

        assert turns.ran == ["order-1"] * 3

    def test_a_slow_message_does_not_hold_up_others(self, announce: Announce) -> None:
        gate = Gate()
        turns = Turns(lambda run_id: gate(run_id) if run_id == "slow" else Ended())
        with running(Relay("inline", turns, concurrency=2)):
            announce("slow")
            wait_until(lambda: gate.waiting == 1, "the slow one is at work")
            announce("quick")
            wait_until(lambda: "quick" in turns.ran, "the quick one is sent")
            gate.open.set()

    def test_stopping_takes_nothing_more_and_finishes_what_is_in_flight(self, announce: Announce) -> None:
        announce("order-1")
        gate = Gate()
        turns = Turns(gate)
        relay = Relay("inline", turns, concurrency=1)
        with running(relay):
            wait_until(lambda: gate.waiting == 1, "a turn is at work")
            late = announce("late")
            relay.stop()
            gate.open.set()

        assert (turns.ran, relay.sent) == (["order-1"], 1)
        assert outbox_row(late)["attempts"] == 0

    def test_stopping_ends_an_idle_wait_at_once(self) -> None:
        relay = Relay("inline", Turns())
        looks = Statements()
        with running(relay, looks):
            wait_until(lambda: looks.last_gap() > 0.7, "the relay has gone idle")
            started = time.monotonic()
        assert time.monotonic() - started < 0.5

    def test_idle_it_asks_one_index_only_question_a_second(self, announce: Announce) -> None:
        announce("tomorrow", delay=86_400)
        looks = Statements()
        with running(Relay("inline", Turns()), looks):
            wait_until(lambda: len(looks.times) >= 12, "some looks")

        settled = looks.texts[-6:]  # the first statements are those of a new connection
        assert all(sql.startswith("SELECT min(send_at), hookflow_now() FROM") for sql in settled)
        assert looks.last_gap() >= 0.95

    def test_a_lost_database_connection_is_survived(self, announce: Announce, caplog: pytest.LogCaptureFixture) -> None:
        turns = Turns()
        looks = Statements()
        with running(Relay("inline", turns), looks):
            wait_until(lambda: looks.times, "the relay is connected")
            with connection.cursor() as c:
                c.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                )
                assert c.fetchone()[0] >= 1
            announce("order-1")
            wait_until(lambda: turns.ran == ["order-1"], "the message is sent all the same")

        assert "the database is unavailable, next attempt in 0.5 s" in caplog.text


class Statements:
    """What a connection is asked, and when."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.times: list[float] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.texts.append(sql)
        self.times.append(time.monotonic())
        return execute(sql, params, many, context)

    def last_gap(self) -> float:
        return self.times[-1] - self.times[-2] if len(self.times) > 1 else 0.0
