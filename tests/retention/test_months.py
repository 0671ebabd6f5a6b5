"""A month goes as a whole: its runs into an archive, its events with their partition; unless one of them lives."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from django.core.management import CommandError
from django.db import InterfaceError, OperationalError, connection

from django_hookflow.dlq import DeadLetterEntry
from django_hookflow.exceptions import ArchivedRun
from django_hookflow.models import WorkflowRun
from django_hookflow.retention.partitions import Partition, add_partitions, archive_partition, partitions
from tests.crashes.conftest import wire
from tests.crashes.wire import Cut, Side, Wire
from tests.log.calls import append, ask, head_of, log_of, psql, session, start, step, wait_until_blocked
from tests.projections.histories import FAILURE, MIXED, TURN
from tests.retention.small import make_batches_small
from tests.retention.stage import (
    DAYS,
    ENDED,
    archived,
    archived_in,
    archives_in,
    assert_nothing_differs,
    cleanup,
    run_command,
)
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from django_hookflow.testing import Hookflow

__all__ = ["wire"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("one_partition")]

RUNS = 8
SIDES: tuple[Side, ...] = ("before", "after")


class Months:
    """Four months, of which ``old`` is over and has runs that have all ended; the time is after it."""

    def __init__(self, hookflow: Hookflow) -> None:
        add_partitions(4)
        self.first, self.old, self.next = partitions()[:3]
        # Two of each kind that is over: completed, failed, replayed and failed again, cancelled.
        self.runs = {f"old-{n}": self.start(f"old-{n}", sorted(ENDED)[n % 4]) for n in range(RUNS)}
        self.young = self.start("young", 2, self.next)
        self.advance_past(hookflow, self.old)
        self.lengths = {str(uid): len(log_of(uid)) for uid in self.runs.values()}

    def start(self, run_id: str, kind: int, partition: Partition | None = None) -> UUID:
        low = (partition or self.old).from_uid
        assert low is not None
        uid = UUID(int=low.int + (1000 << 80) + int.from_bytes(os.urandom(8), "big"))
        start(run_id, {"id": run_id}, run_uid=uid)
        append(uid, 1, *MIXED[kind], ends_turn=True)
        return uid

    def advance_past(self, hookflow: Hookflow, partition: Partition) -> None:
        (row,) = ask("SELECT extract(epoch FROM %s - hookflow_now())::float8 AS wait", partition.until)
        hookflow.advance(row["wait"] + DAYS)


@pytest.fixture
def months(hookflow: Hookflow) -> Months:
    return Months(hookflow)


def detach_older(months: Months, directory: Path) -> None:
    run_command("hookflow_partitions", "archive", months.first.name, "--archive-to", str(directory))


def archive(partition: Partition, directory: Path, *arguments: str) -> str:
    return run_command("hookflow_partitions", "archive", partition.name, "--archive-to", str(directory), *arguments)


def is_table(name: str) -> bool:
    return bool(ask("SELECT FROM pg_class WHERE relname = %s", name))


def test_a_month_that_is_over_goes_into_an_archive_and_out_of_the_log(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    printed = archive(months.old, tmp_path)
    assert f"Detached {months.old.name}: it is now a standalone table" in printed
    assert archived() == months.runs.keys()
    assert {uid: len(events) for uid, events in archived_in(tmp_path).items()} == months.lengths
    (file,) = archives_in(tmp_path)
    assert "as in their tombstones: 8 runs" in run_command("hookflow_archive", "verify", str(file))
    assert [partition.name for partition in partitions()][:2] == ["django_hookflow_event_past", months.next.name]
    assert [len(log_of(uid)) for uid in months.runs.values()] == [0] * RUNS
    assert WorkflowRun.objects.get().run_id == "young"
    assert not DeadLetterEntry.objects.exists()
    (rows,) = ask(f"SELECT count(*) AS number FROM {months.old.name}")
    assert rows["number"] == sum(months.lengths.values())
    assert_nothing_differs()


def test_what_is_detached_is_no_longer_guarded_but_against_truncate(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    archive(months.old, tmp_path)
    assert psql("-c", f"DELETE FROM {months.old.name} WHERE seq = 1").returncode == 0
    assert "append-only, TRUNCATE is refused" in psql("-c", f"TRUNCATE {months.old.name}").stderr


def test_drop_removes_the_table_as_well(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    assert archive(months.old, tmp_path, "--drop").endswith(f"Dropped {months.old.name}\n")
    assert not is_table(months.old.name)
    assert len(archived_in(tmp_path)) == RUNS


def test_a_process_whose_clock_is_years_behind_can_still_start_a_run(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    archive(months.old, tmp_path)
    uid = start("late", run_uid=UUID(int=1 << 80))["run_uid"]
    append(uid, 1, step("a"), ("run.cancelled", None, {}))
    (row,) = ask("SELECT tableoid::regclass::text AS name FROM django_hookflow_event WHERE run_uid = %s LIMIT 1", uid)
    assert row["name"] == "django_hookflow_event_past"
    assert "append-only, TRUNCATE is refused" in psql("-c", "TRUNCATE django_hookflow_event_past").stderr


def test_months_go_in_the_order_of_time(months: Months, hookflow: Hookflow, tmp_path: Path) -> None:
    with pytest.raises(
        CommandError, match=f"{months.old.name} was not detached: older events are in {months.first.name}"
    ):
        archive(months.old, tmp_path)
    detach_older(months, tmp_path)
    archive(months.old, tmp_path)
    late = start("late", run_uid=UUID(int=1 << 80))["run_uid"]
    append(late, 1, ("run.cancelled", None, {}))
    append(months.young, None, ("run.cancelled", None, {}))
    months.advance_past(hookflow, months.next)
    with pytest.raises(CommandError, match="older events are in django_hookflow_event_past. Retire its runs"):
        archive(months.next, tmp_path)
    cleanup("--days-old", "0", "--archive-to", str(tmp_path))
    archive(months.next, tmp_path)
    assert partitions()[0].name == "django_hookflow_event_past"
    assert partitions()[0].to_uid == months.next.to_uid
    assert archived() == {*months.runs, "late", "young"}
    assert_nothing_differs()


@pytest.mark.parametrize("name", ["django_hookflow_event_all", "next", "django_hookflow_head", "x"])
def test_only_a_partition_whose_time_is_over_goes(months: Months, tmp_path: Path, name: str) -> None:
    name = months.next.name if name == "next" else name
    before = partitions()
    with pytest.raises(CommandError, match="it is the partition for current or future runs|there is no partition"):
        run_command("hookflow_partitions", "archive", name, "--archive-to", str(tmp_path))
    printed = psql("-c", f"CALL hookflow_detach_partition('{name}')")
    assert "is not a partition of a past month" in printed.stderr
    assert partitions() == before


def test_a_living_run_keeps_its_month_and_is_named(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    for n in range(7):
        months.start(f"alive-{n}", 2)
    with pytest.raises(CommandError, match=r"it has 7 active runs: alive-\d, .* and 2 more"):
        archive(months.old, tmp_path)
    assert (archived(), archives_in(tmp_path)) == (set(), [])
    assert "its run" in psql("-c", f"CALL hookflow_detach_partition('{months.old.name}')").stderr
    assert_nothing_differs()


def test_events_that_belong_to_no_run_do_not_go_unseen(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    ask("DELETE FROM django_hookflow_head WHERE run_id = 'old-1'")
    with pytest.raises(CommandError, match=f"it has events of run {months.runs['old-1']}, which has no head"):
        archive(months.old, tmp_path)
    assert partitions()[1].name == months.old.name


def test_without_a_directory_nothing_is_done(months: Months) -> None:
    with pytest.raises(CommandError, match="no archive directory"):
        run_command("hookflow_partitions", "archive", months.old.name)


def test_a_replay_that_comes_first_keeps_the_month(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    failed = months.runs["old-1"]
    with session() as operator, operator.transaction():
        append(failed, None, ("run.replayed", None, {"failed_seq": 5}), session=operator)
        with pytest.raises(CommandError, match=f"{months.old.name} was not detached: its run old-1 is not archived"):
            archive(months.old, tmp_path)
    assert archived() == months.runs.keys() - {"old-1"}
    with pytest.raises(CommandError, match="it has 1 active run: old-1"):
        archive(months.old, tmp_path)
    append(failed, None, TURN, FAILURE)
    archive(months.old, tmp_path)
    assert archived() == months.runs.keys()
    kept = {uid: len(events) for uid, events in archived_in(tmp_path).items()}
    assert kept == {**months.lengths, str(failed): months.lengths[str(failed)] + 3}
    assert_nothing_differs()


def test_a_replay_that_comes_second_is_refused_and_the_month_goes(months: Months, tmp_path: Path) -> None:
    detach_older(months, tmp_path)
    entry = DeadLetterEntry.objects.filter(run_id="old-1").get()
    archiving = archive_partition(months.old.name, tmp_path)
    while "old-1" not in archived():
        next(archiving)
    with pytest.raises(ArchivedRun, match="cannot replay run 'old-1'"):
        entry.replay()
    assert list(archiving) == []
    assert partitions()[0].name == "django_hookflow_event_past"


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_run_that_is_being_started_in_a_month_as_it_goes_keeps_it(
    months: Months, tmp_path: Path, isolation: str
) -> None:
    """Also where the database, or the settings, give transactions one view of the data from beginning to end."""
    detach_older(months, tmp_path)
    assert months.old.from_uid is not None
    uid = UUID(int=months.old.from_uid.int + 5)

    def detach() -> str:
        try:
            ask(f"SET default_transaction_isolation = '{isolation}'")
            return archive(months.old, tmp_path)
        except CommandError as error:
            return str(error)
        finally:
            connection.close()

    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'CALL hookflow_detach%%' AND state = 'active'"
    with session() as late, ThreadPoolExecutor(1) as pool:
        with late.transaction():
            start("late", run_uid=uid, session=late)
            detaching = pool.submit(detach)
            (row,) = wait_until(lambda: ask(waiting), "the month is to be detached")
            wait_until_blocked(row["pid"], "the detaching waits for the run that is being started")
        assert "its run late is not archived" in detaching.result(timeout=30)
    assert len(log_of(uid)) == 1
    assert partitions()[1].name == months.old.name


def test_the_connection_is_cut_at_every_statement(
    hookflow: Hookflow, wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario 18: after each of them the month is whole in the log or in archives, and the next call finishes."""
    make_batches_small(monkeypatch.setattr)
    months = Months(hookflow)
    detach_older(months, tmp_path)
    number, cuts = 0, 0
    while True:
        side = SIDES[number % 2]
        wire.start_over(Cut(number // 2, side, for_good=True))
        connection.close()
        try:
            with wire.watched():
                archive(months.old, tmp_path)
        except (OperationalError, InterfaceError, CommandError):
            pass
        connection.close()
        cuts += wire.has_cut
        kept = archived_in(tmp_path)
        for run_id, uid in months.runs.items():
            is_kept = len(kept.get(str(uid), [])) == months.lengths[str(uid)]
            assert is_kept if head_of(uid)["archived_at"] else len(log_of(uid)) == months.lengths[str(uid)], run_id
        if partitions()[0].to_uid == months.old.to_uid and side == "after":
            break
        number += 1
    assert cuts > 10
    assert archived() == months.runs.keys()
    assert_nothing_differs()
