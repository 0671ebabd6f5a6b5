"""The outbox: what is taken, by whom, when it comes due again, and what is published right after a commit."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.events.log import Sending
from django_hookflow.exceptions import NotConfigured
from django_hookflow.sql import load
from tests.delivery.conftest import WORKFLOW, Announce, outbox_row
from tests.delivery.servers import Answer, Hang, Server

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
Advance = Callable[[float], None]
DAY = 86_400
TAKE = "SELECT run_id FROM hookflow_take(4, NULL, '300 s')"


def claim(message: Message, lease: float = 60) -> str:
    with connection.cursor() as c:
        c.execute(
            "SELECT answer FROM hookflow_claim(%s, %s, %s, 'test', make_interval(secs => %s), '{}')",
            [message.workflow_id, message.run_id, message.seq, lease],
        )
        return str(c.fetchone()[0])


def seconds_until_next() -> float:
    due_at, now = outbox.next_due()
    assert due_at is not None
    return (due_at - now).total_seconds()


def run_ids(messages: list[Message]) -> list[str]:
    return [message.run_id for message in messages]


@pytest.fixture
def other() -> Iterator[BaseDatabaseWrapper]:
    """A second session on the same database."""
    second = connection.copy()
    yield second
    second.close()


class TestTaking:
    def test_a_due_message_is_taken_as_it_was_announced(self, announce: Announce) -> None:
        announced = announce("order-1")

        assert outbox.take_due(10) == [announced]

    def test_a_taken_message_comes_due_again_when_overdue_and_counts_its_attempts(
        self, announce: Announce, advance: Advance
    ) -> None:
        message = announce("order-1")
        outbox.take_due(10)

        assert outbox.take_due(10) == []
        assert outbox_row(message)["send_in"] == pytest.approx(300, abs=5)
        advance(301)
        (again,) = outbox.take_due(10)
        assert (again.attempt, again.deduplication_id) == (2, f"{message.run_uid}-1-2")

    def test_the_longest_due_go_first_and_no_more_than_asked_for(self, announce: Announce, advance: Advance) -> None:
        for run_id, delay in (("third", 30), ("first", 10), ("second", 20), ("not-yet", 99)):
            announce(run_id, delay=delay)
        advance(50)

        assert run_ids(outbox.take_due(2)) == ["first", "second"]
        assert run_ids(outbox.take_due(2)) == ["third"]
        assert run_ids(outbox.take_due(2)) == []

    def test_a_published_message_is_taken_only_after_its_grace(self, announce: Announce, advance: Advance) -> None:
        message = announce("order-1", delay=100, grace=300)

        advance(399)
        assert outbox.take_due(10) == []
        advance(401)
        assert [m.attempt for m in outbox.take_due(10)] == [2]
        assert outbox_row(message)["attempts"] == 2

    def test_what_came_due_after_a_pass_began_is_not_part_of_it(self, announce: Announce, advance: Advance) -> None:
        announce("before")
        _, began = outbox.next_due()
        announce("after")

        assert run_ids(outbox.take_due(10, until=began)) == ["before"]
        assert run_ids(outbox.take_due(10)) == ["after"]

    def test_two_senders_never_take_the_same(self, announce: Announce, other: BaseDatabaseWrapper) -> None:
        for i in range(6):
            announce(f"order-{i}")
        with other.cursor() as c:  # the other has taken its share and not committed
            other.set_autocommit(False)
            c.execute(TAKE)
            theirs = {row[0] for row in c.fetchall()}
            ours = set(run_ids(outbox.take_due(10)))
            other.commit()

        assert len(theirs) == 4
        assert ours == {f"order-{i}" for i in range(6)} - theirs
        assert outbox.take_due(10) == []

    def test_a_sender_that_dies_before_its_commit_has_taken_nothing(
        self, announce: Announce, other: BaseDatabaseWrapper
    ) -> None:
        announced = announce("order-1")
        with other.cursor() as c:
            other.set_autocommit(False)
            c.execute(TAKE)
            assert len(c.fetchall()) == 1
            other.rollback()

        assert outbox.take_due(10) == [announced]

    def test_a_row_that_an_append_is_changing_is_passed_over(
        self, announce: Announce, other: BaseDatabaseWrapper
    ) -> None:
        announce("changing")
        announce("still")
        with other.cursor() as c:
            other.set_autocommit(False)
            c.execute("SELECT answer FROM hookflow_claim(%s, 'changing', 1, 'other', '60 s', '{}')", [WORKFLOW])
            assert c.fetchone() == ("run",)
            assert run_ids(outbox.take_due(10)) == ["still"]
            other.commit()

        assert outbox.take_due(10) == []

    def test_a_run_at_work_is_left_alone_until_its_lease_runs_out(self, announce: Announce, advance: Advance) -> None:
        message = announce("order-1")
        assert claim(message, lease=60) == "run"
        with connection.cursor() as c:
            c.execute(
                "SELECT hookflow_renew(run_uid, turn_seq, '120 s') FROM django_hookflow_outbox WHERE run_uid = %s",
                [message.run_uid],
            )

        advance(61)
        assert outbox.take_due(10) == []
        advance(121)
        assert run_ids(outbox.take_due(10)) == ["order-1"]


class TestRescheduling:
    def test_a_failed_message_is_sent_again_when_told(self, announce: Announce, advance: Advance) -> None:
        announce("order-1")
        (taken,) = outbox.take_due(10)

        assert outbox.reschedule(taken, 30) is True
        assert outbox_row(taken)["send_in"] == pytest.approx(30, abs=5)
        advance(31)
        assert [m.attempt for m in outbox.take_due(10)] == [2]

    def test_never_before_it_is_due(self, announce: Announce) -> None:
        message = announce("order-1", delay=3600, grace=300)

        assert outbox.reschedule(message, 5) is True
        assert outbox_row(message)["send_in"] == pytest.approx(3600, abs=5)

    def test_not_once_its_turn_has_begun(self, announce: Announce) -> None:
        announce("order-1")
        (taken,) = outbox.take_due(10)
        assert claim(taken) == "run"

        assert outbox.reschedule(taken, 1) is False
        assert outbox_row(taken)["send_in"] == pytest.approx(60, abs=5)

    def test_soon_after_its_worker_died(self, announce: Announce, advance: Advance) -> None:
        """The turn has begun, its lease has run out, and the delivery that is to take over fails."""
        announce("order-1")
        (taken,) = outbox.take_due(10)
        assert claim(taken) == "run"
        advance(61)
        (again,) = outbox.take_due(10)

        assert outbox.reschedule(again, 1) is True
        assert outbox_row(again)["send_in"] == pytest.approx(1, abs=1)

    def test_not_by_a_sender_that_was_overtaken(self, announce: Announce, advance: Advance) -> None:
        announce("order-1")
        (slow,) = outbox.take_due(10)
        advance(301)
        (quick,) = outbox.take_due(10)

        assert outbox.reschedule(slow, 1) is False
        assert outbox_row(quick)["send_in"] == pytest.approx(300, abs=5)

    def test_not_the_turn_after(self, announce: Announce) -> None:
        announce("order-1")
        (taken,) = outbox.take_due(10)
        assert claim(taken) == "run"
        with connection.cursor() as c:
            c.execute(
                "SELECT hookflow_append(run_uid, last_seq, '{step.suspended}', '{nap}', ARRAY['{\"kind\":\"sleep\",\"seconds\":99}'::json], '{NULL}',"
                " NULL, true) FROM django_hookflow_head WHERE run_uid = %s",
                [taken.run_uid],
            )

        assert outbox.reschedule(taken, 1) is False
        assert outbox_row(taken)["send_in"] == pytest.approx(99, abs=5)


class TestLooking:
    def test_nothing_announced(self) -> None:
        due_at, now = outbox.next_due()
        assert due_at is None
        assert isinstance(now, datetime.datetime)

    def test_the_nearest_counts(self, announce: Announce, advance: Advance) -> None:
        announce("later", delay=500)
        announce("sooner", delay=100)

        assert seconds_until_next() == pytest.approx(100, abs=5)
        advance(150)
        assert seconds_until_next() == pytest.approx(-50, abs=5)

    def test_both_statements_read_little_among_many_sleepers(self, announce: Announce) -> None:
        announce("due")
        with connection.cursor() as c:
            c.execute("""
                INSERT INTO django_hookflow_head (run_uid, run_id, workflow_id, last_seq, fence_seq, last_at, head_hash)
                SELECT gen_random_uuid(), 'run-' || i, 'w', 1, 0, now(), '' FROM generate_series(1, 20000) AS i""")
            c.execute("""
                INSERT INTO django_hookflow_outbox (run_uid, seq, due_at, announced_at, send_at)
                SELECT run_uid, 1, now() + interval '1 day', now(), now() + interval '1 day' FROM django_hookflow_head
                ON CONFLICT DO NOTHING""")
            c.execute("VACUUM ANALYZE django_hookflow_outbox, django_hookflow_head, django_hookflow_lease")
            looking = explain(c, load("outbox_next_due"), {})
        assert "Index Only Scan using django_hookflow_outbox_next" in looking
        for is_new_first in (False, True):
            with transaction.atomic(), connection.cursor() as c:
                before = rows_read(c)
                assert run_ids(outbox.take_due(8, is_new_first=is_new_first)) == ["due"]
                scans, fetched = (now - then for now, then in zip(rows_read(c), before, strict=True))
                assert scans == 0
                assert fetched < 20
                transaction.set_rollback(True)


def rows_read(c: Any) -> tuple[int, int]:
    """How often this session has read a table without an index, and how many rows by one."""
    c.execute("""
        SELECT sum(seq_scan)::integer, sum(idx_tup_fetch)::integer FROM pg_stat_xact_user_tables
        WHERE relname IN ('django_hookflow_outbox', 'django_hookflow_head', 'django_hookflow_lease')""")
    counted: tuple[int, int] = c.fetchone()
    return counted


def explain(c: Any, statement: str, arguments: dict[str, Any]) -> str:
    c.execute(f"EXPLAIN {statement}", arguments)
    return "\n".join(row[0] for row in c.fetchall())


class TestSending:
    @pytest.mark.parametrize("name", ["http", "inline"])
    def test_a_relays_transport_needs_none(self, settings: Settings, name: str) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = name

        assert outbox.sending() == Sending(None, 0)

    def test_what_qstash_was_given_is_overdue_later(self, settings: Settings) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
        settings.DJANGO_HOOKFLOW_OVERDUE_SECONDS = 77

        assert outbox.sending() == Sending(77, 7 * DAY)

    @pytest.mark.parametrize(("delay", "sent_in"), [(7 * DAY, 7 * DAY + 300), (7 * DAY + 1, 7 * DAY + 1)])
    def test_what_qstash_cannot_hold_so_long_is_left_to_a_relay(
        self, announce: Announce, delay: float, sent_in: float
    ) -> None:
        message = announce("order-1", delay=delay, grace=300)

        assert outbox_row(message)["send_in"] == pytest.approx(sent_in, abs=0.9)


class TestPublishing:
    @pytest.fixture(autouse=True)
    def qstash(self, settings: Settings, server: Server) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
        settings.DJANGO_HOOKFLOW_DOMAIN = "https://my-app.com"
        settings.QSTASH_URL = server.url

    def test_after_the_commit_and_not_before(self, announce: Announce, server: Server) -> None:
        with transaction.atomic():
            outbox.publish_after_commit(announce("order-1", grace=300), using="default")
            assert server.received == []

        assert len(server.received) == 1

    def test_not_after_a_rollback(self, announce: Announce, server: Server) -> None:
        with transaction.atomic():
            outbox.publish_after_commit(announce("order-1", grace=300), using="default")
            transaction.set_rollback(True)

        assert server.received == []
        assert outbox.next_due()[0] is None

    def test_at_once_without_a_transaction(self, announce: Announce, server: Server) -> None:
        outbox.publish_after_commit(announce("order-1", grace=300), using="default")

        assert len(server.received) == 1

    def test_not_when_due_in_more_than_a_week(self, announce: Announce, server: Server) -> None:
        outbox.publish_after_commit(announce("order-1", delay=8 * DAY), using="default")

        assert server.received == []

    def test_not_by_a_transport_that_needs_a_relay(
        self, announce: Announce, server: Server, settings: Settings
    ) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "http"
        settings.DJANGO_HOOKFLOW_DOMAIN = server.url

        outbox.publish_after_commit(announce("order-1"), using="default")

        assert server.received == []

    @pytest.mark.parametrize("answer", [Answer(500), Answer(401), Hang()], ids=["500", "401", "hangs"])
    def test_a_failure_is_logged_and_brings_the_relay_soon(
        self, announce: Announce, server: Server, caplog: pytest.LogCaptureFixture, answer: Answer
    ) -> None:
        server.otherwise = answer
        message = announce("order-1", grace=300)

        with transaction.atomic():
            outbox.publish_after_commit(message, using="default")

        assert "order-1 at seq 1, attempt 1 was not published; a relay will send it" in caplog.text
        assert outbox_row(message)["send_in"] == pytest.approx(5, abs=3)

    def test_a_failure_that_says_when_is_believed(self, announce: Announce, server: Server) -> None:
        server.otherwise = Answer(429, headers={"Retry-After": "120"})
        message = announce("order-1", grace=300)

        outbox.publish_after_commit(message, using="default")

        assert outbox_row(message)["send_in"] == pytest.approx(120, abs=5)

    def test_a_setting_that_is_missing_does_not_reach_the_caller(
        self, announce: Announce, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.QSTASH_TOKEN = None
        message = announce("order-1", grace=300)

        outbox.publish_after_commit(message, using="default")

        assert "QSTASH_TOKEN is not configured" in caplog.text
        assert outbox_row(message)["send_in"] == pytest.approx(5, abs=3)

    def test_a_transaction_managed_by_hand_is_left_to_a_relay(
        self, announce: Announce, server: Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        message = announce("order-1", grace=300)
        transaction.set_autocommit(False)
        try:
            with caplog.at_level(logging.ERROR):
                outbox.publish_after_commit(message, using="default")
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

        assert "is left to a relay" in caplog.text
        assert server.received == []

    def test_an_unknown_transport_is_told_before_anything_is_announced(self, settings: Settings) -> None:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "pigeon"

        with pytest.raises(NotConfigured, match="'pigeon' is none of qstash, http, inline"):
            outbox.sending()
