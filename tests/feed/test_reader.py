"""Every event once, whatever commits when: each order of commits is arranged."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, transaction

from django_hookflow.exceptions import UnknownRun
from django_hookflow.feed import reader
from django_hookflow.feed.positions import MOST_MARKS, Position
from django_hookflow.feed.reader import Feed, RunFeed, RunIsArchived, look
from django_hookflow.models import WorkflowEvent
from tests.feed.reading import (
    add,
    feed_from_now,
    last_position,
    new_run,
    open_transaction,
    read_all,
    restarted,
    steps_of,
    stored_and_loaded,
    wait_until_settled,
    xid_of,
)
from tests.log.calls import append, ask, step

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_is_drawn_early_and_committed_late_is_read_late() -> None:
    a, b = new_run(), new_run()
    feed = feed_from_now()
    with open_transaction() as slow:
        add(a, "drawn first", within=slow)
        add(b, "drawn second")
        assert steps_of(read_all(feed)) == ["drawn second"]
        slow.commit()
    assert steps_of(read_all(restarted(feed))) == ["drawn first"]


def test_a_reader_that_remembers_the_highest_position_would_have_lost_it() -> None:
    """Why there are snapshots: the obvious reader, on the same schedule."""
    a, b = new_run(), new_run()
    highest = last_position()

    def read_obviously() -> list[Any]:
        nonlocal highest
        rows = list(WorkflowEvent.objects.filter(position__gt=highest).order_by("position"))
        highest = max([highest, *(row.position for row in rows)])
        return [row.step_id for row in rows]

    with open_transaction() as slow:
        add(a, "drawn first", within=slow)
        add(b, "drawn second")
        assert read_obviously() == ["drawn second"]
        slow.commit()
    assert read_obviously() == []


def test_an_event_written_in_a_savepoint_belongs_to_its_transaction() -> None:
    a, b = new_run(), new_run()
    feed = feed_from_now()
    with open_transaction() as slow:
        slow.execute("CREATE TEMP TABLE something ()")
        slow.execute("SAVEPOINT one")
        add(a, "in a savepoint", within=slow)
        slow.execute("RELEASE one")
        slow.execute("SAVEPOINT two")
        add(a, "rolled back", within=slow)
        slow.execute("ROLLBACK TO two")
        add(b, "meanwhile")
        assert steps_of(read_all(feed)) == ["meanwhile"]
        slow.commit()
    (row,) = ask("SELECT xid::text <> xmin::text AS differ FROM django_hookflow_event WHERE step_id = 'in a savepoint'")
    assert row["differ"]
    assert steps_of(read_all(feed)) == ["in a savepoint"]


def test_positions_that_were_rolled_back_are_holes_and_nothing_more() -> None:
    uid = new_run()
    feed = feed_from_now()
    with open_transaction() as other:
        add(uid, "never", within=other)
    add(uid, "a")
    with open_transaction() as other:
        add(uid, "never", within=other)
    assert steps_of(read_all(feed)) == ["a"]
    add(uid, "b")
    assert steps_of(read_all(feed)) == ["b"]


def test_a_batch_at_a_time_and_a_restart_after_each() -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, *"abcdefg")
    seen = []
    while batch := feed.read(2):
        assert len(batch) <= 2
        seen += steps_of(batch)
        feed = restarted(feed)
    assert seen == list("abcdefg")


def test_part_of_a_batch_can_be_taken_back() -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, *"abc")
    events = feed.read()
    feed.go_back_to(events[0])
    assert steps_of(read_all(restarted(feed))) == ["b", "c"]
    add(uid, "d")
    feed.read()
    feed.go_back_to(None)
    assert steps_of(read_all(restarted(feed)))[-1] == "d"


def test_what_commits_while_a_window_is_read_comes_in_the_next() -> None:
    a, b = new_run(), new_run()
    feed = feed_from_now()
    with open_transaction() as slow:
        add(a, "a1", within=slow)
        add(b, "b1", "b2", "b3")
        assert steps_of(feed.read(1)) == ["b1"]
        slow.commit()
    add(b, "b4")
    assert steps_of(read_all(restarted(feed))) == ["b2", "b3", "a1", "b4"]


def test_only_the_types_that_are_asked_for() -> None:
    uid = new_run()
    append(uid, None, step("a"), ("run.completed", None, {"result": 1}))
    assert [event.type for event in read_all(Feed(types=["run.completed"]))] == ["run.completed"]
    assert read_all(Feed(types=["no.such.type"])) == []
    events = read_all(Feed())
    assert [event.seq for event in events] == [1, 2, 3]


def test_an_event_as_users_know_it() -> None:
    uid = new_run("order-1")
    append(uid, None, step("charge", {"amount": 12}), actor="ada")
    event = read_all(Feed())[-1].as_model()
    stored = WorkflowEvent.objects.get(position=event.position)
    for field in WorkflowEvent._meta.concrete_fields:
        assert getattr(event, field.attname) == getattr(stored, field.attname), field.attname
    assert event.workflow_run is not None
    assert (event.run_id, event.workflow_run.run_id) == ("order-1", "order-1")
    event.actor = "mallory"
    with pytest.raises(Exception, match="read-only in the ORM"):
        event.save()


def test_a_settled_reader_asks_one_thing_only(django_assert_num_queries: Any) -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, "a")
    assert steps_of(read_all(feed)) == ["a"]
    wait_until_settled(feed)
    with django_assert_num_queries(1):
        assert feed.read() == []


def test_a_long_transaction_makes_scans_long_only_when_it_ends() -> None:
    """A transaction draws a position and stays open while others go on for minutes."""
    a, b = new_run(), new_run()
    feed = feed_from_now()
    with open_transaction() as slow:
        add(a, "slow", within=slow)
        for number in range(3 * MOST_MARKS):
            add(b, f"b{number}")
            feed.read()  # from here on all before this is seen, but for what is slow
            before = feed.position
            add(b, f"c{number}")
            assert steps_of(feed.read()) == [f"c{number}"]
            assert feed.position.floor < before.reached
            feed = restarted(feed)
        assert len(feed.position.marks) <= MOST_MARKS + 1
        wait_until_settled(feed, but_for=xid_of(slow))
        add(b, "last")
        opened = feed.position
        feed._open(look())
        assert feed.position.cursor == last_position() - 1, "the scan does not go back to the slow transaction"
        feed.position = opened
        slow.commit()
    assert steps_of(read_all(feed)) == ["slow", "last"]
    wait_until_settled(feed)
    assert feed.position.floor == last_position()


def test_a_transaction_whose_id_is_the_next_one_is_not_taken_for_ended() -> None:
    """A snapshot's xmax is not above every id that has been given: a mark must not be made from it."""
    a = new_run()
    feed = feed_from_now()
    with open_transaction() as slow:
        add(a, "slow", within=slow)
        assert read_all(feed) == []
        assert read_all(feed) == []
        assert feed.position.floor < last_position()
        slow.commit()
    assert steps_of(read_all(feed)) == ["slow"]


def test_a_reader_may_read_in_a_transaction_that_has_written() -> None:
    uid = new_run()
    feed = feed_from_now()
    add(uid, "before")
    with transaction.atomic():
        add(uid, "own")
        assert steps_of(read_all(feed)) == ["before"]
        assert feed.position.marks == stored_and_loaded(feed.position).marks
    assert steps_of(read_all(feed)) == ["own"]
    with transaction.atomic():
        add(uid, "unseen by its own transaction's later windows")
        seen = {event.seq for event in read_all(Feed())}
        assert seen == {1, 2, 3, 4}, "a first window without a mark has all it can see, and some of it may come again"


def test_a_readers_own_transaction_has_not_ended_for_it_even_when_younger_ones_have() -> None:
    """PostgreSQL leaves a transaction's own id out of the list of those that run."""
    a, b = new_run(), new_run()
    feed = feed_from_now()
    with open_transaction() as younger, transaction.atomic():
        add(a, "own")
        add(b, "younger", within=younger)
        younger.commit()
        assert steps_of(read_all(feed)) == ["younger"]
        add(a, "own, after its look")
    assert steps_of(read_all(restarted(feed))) == ["own", "own, after its look"]
    with open_transaction() as younger, transaction.atomic():
        add(a, "own again")
        add(b, "younger again", within=younger)
        younger.commit()
        feed.go_to_end()
        add(a, "after the end")
    assert steps_of(read_all(feed)) == ["after the end"]


def test_a_wide_gap_is_gone_over() -> None:
    uid = new_run()
    add(uid, "a")
    with connection.cursor() as c:
        c.execute("SELECT setval('django_hookflow_event_position_seq', 10000000)")
    add(uid, "b")
    assert steps_of(read_all(Feed())) == [None, "a", "b"]


def test_a_read_does_not_go_on_for_ever_when_nothing_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "NARROWEST_SLICE", 1)
    monkeypatch.setattr(reader, "WIDEST_SLICE", 1)
    monkeypatch.setattr(reader, "SLICES_PER_READ", 2)
    uid = new_run()
    add(uid, *"abcde")
    append(uid, None, ("run.completed", None, {}))
    feed = Feed(Position.after(last_position() - 6), types=["run.completed"])
    assert feed.read() == []
    assert not feed.is_caught_up
    assert [event.type for event in read_all(feed)] == ["run.completed"]


def test_a_run_by_itself() -> None:
    uid = new_run("order-1")
    add(new_run(), "of another")
    add(uid, "a")
    feed = RunFeed("order-1")
    assert steps_of(feed.read(1)) == [None]
    assert steps_of(feed.read()) == ["a"]
    assert feed.read() == []
    add(uid, "b")
    assert steps_of(feed.read()) == ["b"]
    with pytest.raises(UnknownRun, match="no run has the ID 'order-2'"):
        RunFeed("order-2")
    with connection.cursor() as c:
        c.execute("UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'order-1'")
    with pytest.raises(RunIsArchived, match="in the archive file"):
        RunFeed("order-1")


def test_many_writers_at_once_lose_nothing_to_a_reader_beside_them() -> None:
    """Two sessions, each with a transaction open in turn, and a reader between any two of their statements."""
    runs = [new_run() for _ in range(2)]
    feed = feed_from_now()
    seen: list[str | None] = []
    with ExitStack() as stack:
        writers = [stack.enter_context(open_transaction()) for _ in runs]
        for number in range(40):
            writer = number % 2
            add(runs[writer], f"{writer}-{number}", within=writers[writer])
            seen += steps_of(read_all(feed, limit=1))
            if number % 3 == 0:
                writers[1 - writer].commit()
            seen += steps_of(read_all(feed, limit=1))
        for session_ in writers:
            session_.commit()
    seen += steps_of(read_all(feed))
    assert sorted(seen, key=str) == sorted((f"{n % 2}-{n}" for n in range(40)), key=str)
    for writer in range(2):
        own = [step_id for step_id in seen if str(step_id).startswith(f"{writer}-")]
        assert own == sorted(own, key=lambda step_id: int(str(step_id).split("-")[1]))


def test_a_session_that_may_only_read_can() -> None:
    """As an auditor may: a mark takes a transaction id, and writes nothing."""
    uid = new_run()
    feed = feed_from_now()
    add(uid, "a")
    role = f"feed_auditor_{uuid.uuid4().hex}"  # roles are the server's, like transaction ids
    with connection.cursor() as c:
        c.execute(f"CREATE ROLE {role}")
        c.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        c.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}")
        try:
            c.execute("SET default_transaction_read_only = on")
            c.execute(f"SET ROLE {role}")
            assert steps_of(read_all(feed)) == ["a"]
            wait_until_settled(feed)
            assert len(feed.position.marks) == 1
            assert feed.position.floor == last_position()
        finally:
            c.execute("RESET ROLE")
            c.execute("SET default_transaction_read_only = off")
            c.execute(f"DROP OWNED BY {role}")
            c.execute(f"DROP ROLE {role}")
