"""The log in partitions: split beside running work, each guarded, and everything goes on as if there were one table."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError
from django.db import connection, transaction

from django_hookflow.models import StepExecution, WorkflowRun
from django_hookflow.retention.partitions import Partition, PartitionRefused, add_partitions, partitions
from django_hookflow.runtime.trigger import uuid7
from tests.log.calls import append, ask, claim, log_of, psql, session, start, step, wait_until_blocked
from tests.projections.histories import FAILURE
from tests.retention.stage import DAYS, assert_nothing_differs, make_runs, run_command
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_hookflow.testing import Hookflow

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_partition")]

SPLIT = "SELECT conrelid::regclass::text AS of FROM pg_constraint WHERE conname = 'django_hookflow_event_split'"


def uid_in(partition: Partition) -> UUID:
    """A uid of a run that started some moments after the partition's time began."""
    low = partition.from_uid.int if partition.from_uid else 0
    return UUID(int=low + (1000 << 80) + int.from_bytes(os.urandom(8), "big"))


def partition_of(uid: UUID) -> str:
    (row,) = ask("SELECT DISTINCT tableoid::regclass::text AS name FROM django_hookflow_event WHERE run_uid = %s", uid)
    return str(row["name"])


def warnings() -> list[str]:
    """What the check of partitions says; another rightly finds the clock that these tests have moved."""
    found = [str(message.id).rpartition(".")[2] for message in run_checks(tags=["database"], databases=["default"])]
    return [number for number in found if number in ("W022", "W023")]


def wait_for_more(appended: list[int], what: str) -> None:
    so_far = len(appended)
    wait_until(lambda: len(appended) > so_far + 16, what)


def collect_into(notices: list[str]) -> Callable[[psycopg.errors.Diagnostic], None]:
    return lambda notice: notices.append(str(notice.message_primary))


def in_background(pids: list[int], *arguments: Any) -> str | None:
    """Calls hookflow_add_partitions in a session of its own; what it raised."""
    with session() as own:
        pids.append(own.info.backend_pid)
        try:
            own.execute(f"CALL hookflow_add_partitions({', '.join(map(str, arguments))})")
        except psycopg.Error as error:
            return str(error)
    return None


def test_months_are_added_in_front_of_a_catch_all_and_asked_for_again_nothing_is() -> None:
    printed = run_command("hookflow_partitions", "add", "--months", "4").splitlines()
    found = partitions()
    months = found[1:-1]
    assert len(months) in (3, 4)  # near the end of a month the boundary is a month later
    assert found[0].name == f"django_hookflow_event_until_{months[0].since:%Y_%m_%d}"
    assert [month.name for month in months] == [f"django_hookflow_event_{month.since:%Y_%m}" for month in months]
    assert found[-1].name == "django_hookflow_event_all"
    assert (found[0].since, found[-1].until) == (None, None)
    for one, next_one in itertools.pairwise(found):
        assert one.to_uid == next_one.from_uid
    assert len(printed) == len(found) - 1
    assert (
        run_command("hookflow_partitions", "add", "--months", "4") == "Nothing to add: all partitions already exist\n"
    )
    assert partitions() == found
    assert psql("-c", "CALL hookflow_add_partitions(6)").returncode == 0
    assert [partition.name for partition in partitions()][: len(found) - 1] == [p.name for p in found[:-1]]
    assert len(partitions()) == len(found) + 2
    listed = run_command("hookflow_partitions", "list").splitlines()
    assert len(listed) == len(found) + 2
    assert listed[0].startswith(f"{found[0].name}  … – ")
    assert ask(SPLIT) == []
    assert warnings() == []


def test_when_months_have_run_out_the_catch_all_is_split_with_what_it_has(hookflow: Hookflow) -> None:
    add_partitions(2)
    last = partitions()[-1]
    uid = start(run_uid=uid_in(last))["run_uid"]
    assert last.since is not None
    (row,) = ask("SELECT extract(epoch FROM %s - hookflow_now())::float8 AS wait", last.since)
    hookflow.advance(row["wait"] - 13 * DAYS)
    assert warnings() == ["W022"]
    hookflow.advance(13 * DAYS + 3600)
    add_partitions(3)
    assert partition_of(uid) == f"django_hookflow_event_{last.since:%Y_%m}"
    assert warnings() == []
    append(uid, 1, step("a"))
    assert_nothing_differs()


def test_splitting_copies_nothing_and_events_are_where_they_belong() -> None:
    uids = list(make_runs(16).values())
    file_of = "SELECT pg_relation_filenode(%s::regclass) AS file"
    before = ask(file_of, "django_hookflow_event_all")
    rows = [log_of(uid) for uid in uids]
    add_partitions(3)
    first, *others = partitions()
    assert ask(file_of, first.name) == before
    assert {partition_of(uid) for uid in uids} == {first.name}
    assert [log_of(uid) for uid in uids] == rows
    for partition in others:
        uid = start(run_uid=uid_in(partition))["run_uid"]
        append(uid, 1, step("a"))
        assert partition_of(uid) == partition.name
    append(uids[0], None, step("after"))
    assert partition_of(uids[0]) == first.name
    assert_nothing_differs()


def test_every_partition_keeps_the_indexes_of_the_log_and_none_is_made_again() -> None:
    of = "SELECT pg_relation_filenode(indexrelid) AS file FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1"
    before = ask(of, "django_hookflow_event_all")
    assert len(before) == 7
    add_partitions(3)
    first, *others = partitions()
    assert ask(of, first.name) == before
    for partition in (first, *others):
        (row,) = ask(
            "SELECT count(*) AS attached FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = %s::regclass",
            partition.name,
        )
        assert row["attached"] == 7


def test_events_are_read_once_and_not_while_others_wait() -> None:
    """The server says so itself: it reads for the CHECK, beside running work, and takes the CHECK for proof after that."""
    make_runs(8)
    for months in (3, 6):  # the first catch-all, which becomes the past; one that is empty and stays the catch-all
        notices: list[str] = []
        with session() as dba:
            dba.add_notice_handler(collect_into(notices))
            dba.execute("SET client_min_messages = debug1")
            dba.execute(f"CALL hookflow_add_partitions({months})")
        by_check = 'verifying table "django_hookflow_event_all"'
        implied = 'partition constraint for table "django_hookflow_event_all" is implied by existing constraints'
        assert [line for line in notices if line in (by_check, implied)] == [by_check, implied]


def test_appends_go_on_while_the_log_is_split_and_a_long_transaction_holds_up_only_the_split() -> None:
    uids = list(make_runs(8).values())
    stop, appended, pids = threading.Event(), list[int](), list[int]()

    def work() -> None:
        with session() as own:
            own.execute("SET lock_timeout = '10s'")
            while not stop.is_set():
                for uid in uids:
                    appended.append(append(uid, None, step(f"step-{len(appended)}"), session=own))

    with session() as reader, ThreadPoolExecutor(2) as pool:
        working = pool.submit(work)
        with reader.transaction():
            reader.execute("SELECT count(*) FROM django_hookflow_event")
            splitting = pool.submit(in_background, pids, 3)
            wait_until(lambda: pids, "the split has begun")
            for _ in range(3):
                wait_until_blocked(pids[0], "the split waits for the reader")
                wait_for_more(appended, "appends go on all the same")
        assert splitting.result(timeout=60) is None
        wait_for_more(appended, "appends go on after it")
        stop.set()
        working.result(timeout=20)
    assert len(partitions()) > 2
    assert_nothing_differs()


def test_a_split_that_is_killed_half_way_is_found_and_taken_up_again() -> None:
    make_runs(8)
    pids: list[int] = []
    with session() as reader, ThreadPoolExecutor(1) as pool, reader.transaction():
        # The parent alone: what the CHECK needs is free, what the split needs is not.
        reader.execute("LOCK TABLE ONLY django_hookflow_event IN ACCESS SHARE MODE")
        splitting = pool.submit(in_background, pids, 3)
        wait_until(lambda: pids and ask(SPLIT), "the CHECK is there")
        wait_until_blocked(pids[0], "the split waits for its locks")
        ask("SELECT pg_terminate_backend(%s)", pids[0])
        assert "terminating connection" in str(splitting.result(timeout=20))
    assert ask(SPLIT) == [{"of": "django_hookflow_event_all"}]
    assert warnings() == ["W023"]
    start(run_uid=uuid7())  # a run of today is not refused by it
    add_partitions(3)
    assert (ask(SPLIT), warnings()) == ([], [])
    assert len(partitions()) > 2


def test_a_split_that_cannot_have_its_locks_says_so_and_leaves_nothing() -> None:
    with session() as reader, reader.transaction():
        reader.execute("LOCK TABLE ONLY django_hookflow_event IN ACCESS SHARE MODE")
        failures = in_background([], 3, "'10 ms'", 2)
    assert "django_hookflow_event_all was not split: the table was locked by other transactions" in str(failures)
    assert ask(SPLIT) == []
    assert len(partitions()) == 1


def test_a_run_from_the_future_is_named_and_nothing_is_changed() -> None:
    uid = start(run_uid=UUID(int=0xF << 124))["run_uid"]
    with pytest.raises(PartitionRefused, match=f"cannot be split at .*: run {uid} is on the wrong side"):
        add_partitions(3)
    with pytest.raises(CommandError, match="remove it with cleanup_workflows"):
        run_command("hookflow_partitions", "add")
    assert (ask(SPLIT), len(partitions())) == ([], 1)


def test_partitions_are_not_changed_inside_a_transaction() -> None:
    with transaction.atomic(), pytest.raises(PartitionRefused, match="inside a transaction"):
        add_partitions(3)


CHANGES = {
    "UPDATE": "UPDATE {table} SET type = 'run.completed'",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
}


def test_every_partition_is_guarded() -> None:
    add_partitions(3)
    uids = [start(run_uid=uid_in(partition))["run_uid"] for partition in partitions()]
    before = [log_of(uid) for uid in uids]
    for table in ["django_hookflow_event", *(partition.name for partition in partitions())]:
        for escape in ("SELECT 1", "SET session_replication_role = replica"):
            for change in CHANGES.values():
                tried = psql("-c", escape, "-c", change.format(table=table))
                assert tried.returncode != 0, change
                assert "hookflow: the event log is append-only" in tried.stderr, (table, tried.stderr)
    assert [log_of(uid) for uid in uids] == before
    assert warnings() == []


def test_work_goes_on_across_partitions() -> None:
    """Started, claimed, failed, replayed, rebuilt and shown as it was, in each of them."""
    add_partitions(3)
    for number, partition in enumerate(partitions()):
        run_id = f"order-{number}"
        uid = start(run_id, run_uid=uid_in(partition))["run_uid"]
        append(uid, 1, ("a", None, {}), ends_turn=True)
        (claimed, *_) = claim(run_id, 2)
        assert claimed["answer"] == "run"
        append(uid, 3, step("validate", {"n": number}), FAILURE, ends_turn=True)
        assert partition_of(uid) == partition.name
        run = WorkflowRun.objects.get(run_id=run_id)
        assert [event.seq for event in run.events.all()] == [1, 2, 3, 4, 5]
        then = run.as_of(4)
        assert (then.status, then.step_executions[0].result) == ("running", {"n": number})
    ask("DELETE FROM django_hookflow_workflowrun")
    run_command("hookflow_rebuild")
    assert StepExecution.objects.count() == WorkflowRun.objects.count() == len(partitions())
    assert_nothing_differs()


def test_one_runs_history_is_read_from_one_partition() -> None:
    add_partitions(6)
    partition = partitions()[2]
    uid = start(run_uid=uid_in(partition))["run_uid"]
    query = "SELECT * FROM django_hookflow_event WHERE run_uid = {} ORDER BY seq"
    plan = "\n".join(row["QUERY PLAN"] for row in ask("EXPLAIN (COSTS OFF) " + query.format(f"'{uid}'")))
    assert [other.name for other in partitions() if other.name in plan] == [partition.name]
    # And as functions ask, by a variable.
    with connection.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE history (uuid) AS {query.format('$1')}")
        cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE history ('{uid}')")
        generic = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("DEALLOCATE history")
        cursor.execute("RESET plan_cache_mode")
    assert f"Subplans Removed: {len(partitions()) - 1}" in generic
    assert [other.name for other in partitions() if other.name in generic] == [partition.name]


def test_a_log_that_nobody_has_partitioned_is_not_complained_of(hookflow: Hookflow) -> None:
    hookflow.advance(1000 * DAYS)
    assert warnings() == []
