"""``hookflow_verify`` where nothing is wrong: what it goes through, what it leaves out, and beside running work."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from django_hookflow.evidence import verifying
from django_hookflow.evidence.audit import HASH_DOES_NOT_HOLD
from django_hookflow.runtime.trigger import uuid7
from tests.evidence.tampering import make_run, retire, tamper, verify
from tests.log.calls import append, ask, session, start
from tests.projections.histories import make_runs
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_empty_log_holds() -> None:
    assert verify() == (0, [], "no runs with no events verified: no problems")


def test_many_runs_hold_whatever_the_size_of_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs(100)
    (events,) = (row["count"] for row in ask("SELECT count(*) FROM django_hookflow_event"))
    expected: tuple[int, list[str], str] = (
        0,
        [],
        f"100 runs with {events} events verified: no problems",
    )
    assert verify() == expected
    monkeypatch.setattr(verifying, "RUNS_PER_RANGE", 7)
    assert verify() == expected
    monkeypatch.setattr(verifying, "EVENTS_PER_RANGE", 1)
    assert verify() == expected


def test_events_without_a_head_between_ranges_and_at_both_ends_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "RUNS_PER_RANGE", 2)
    make_runs(10)
    uids = sorted(row["run_uid"] for row in ask("SELECT run_uid FROM django_hookflow_head"))
    for uid in (uids[0], uids[5], uids[9]):
        ask(f"DELETE FROM django_hookflow_head WHERE run_uid = '{uid}'")
    status, problems, _ = verify()
    assert (status, sum("but no head" in problem for problem in problems)) == (1, 3)


def test_archived_runs_are_left_out_and_counted() -> None:
    uid = make_run("order-1")
    make_run("order-2")
    retire(uid)
    last = "1 run with 8 events verified, 1 archived run left out: no problems"
    assert verify() == (0, [], last)
    assert verify("--run", "order-1") == (
        0,
        [],
        "no runs with no events verified, 1 archived run left out: no problems",
    )


def test_one_run() -> None:
    make_run("order-1")
    uid = make_run("order-2")
    tamper(f"UPDATE django_hookflow_event SET actor = 'eve' WHERE run_uid = '{uid}' AND seq = 2")
    assert verify("--run", "order-1")[0] == 0
    status, (problem,), last = verify("--run", "order-2")
    assert (status, last) == (1, "1 run with 8 events verified: 1 problem")
    assert problem == f"run order-2 #2: {HASH_DOES_NOT_HOLD}"
    with pytest.raises(CommandError, match="no run has the ID 'order-3'"):
        verify("--run", "order-3")


def run_of(moment: datetime.datetime, run_id: str) -> UUID:
    uid = uuid7()
    milliseconds = int(moment.timestamp() * 1000)
    uid = type(uid)(int=(milliseconds << 80) | (uid.int & ((1 << 80) - 1)))
    start(run_id, run_uid=uid)
    return uid


def test_runs_of_a_time() -> None:
    for day in (1, 2, 3):
        uid = run_of(datetime.datetime(2026, 1, day, 12, tzinfo=datetime.timezone.utc), f"order-{day}")
        tamper(f"UPDATE django_hookflow_event SET payload = '1' WHERE run_uid = '{uid}'")

    def broken(*arguments: str) -> list[str]:
        return [problem.split(" #")[0] for problem in verify(*arguments)[1]]

    assert broken("--since", "2026-01-02") == ["run order-2", "run order-3"]
    assert broken("--until", "2026-01-02") == ["run order-1"]
    assert broken("--since", "2026-01-02", "--until", "2026-01-03") == ["run order-2"]
    assert broken("--since", "2026-01-02T12:00:00+00:00", "--until", "2026-01-02T12:00:00+00:00") == []
    assert broken("--since", "2026-01-03T12:00", "--until", "2026-02-01") == ["run order-3"]
    with pytest.raises(CommandError, match="--run cannot be combined with"):
        verify("--run", "order-1", "--since", "2026-01-02")
    with pytest.raises(CommandError, match="'yesterday' is not a valid date: use a format such as"):
        call_command("hookflow_verify", "--since", "yesterday")


def test_redactions_verify_and_stay_verified_when_made_again() -> None:
    uid = make_run("order-1")
    ask("SELECT hookflow_redact(%s, 1, ARRAY['data', 'order'], 'asked for', 'ann')", uid)
    assert verify()[:2] == (0, [])
    ask("SELECT hookflow_redact(%s, NULL, NULL, 'asked for', 'ann')", uid)
    assert verify()[:2] == (0, [])


def test_an_append_under_way_is_neither_waited_for_nor_seen_half() -> None:
    uid = make_run("order-1")
    with session() as other, other.transaction():
        append(uid, None, ("note", None, 1), ("note", None, 2), session=other)
        assert verify() == (0, [], "1 run with 8 events verified: no problems")
    assert verify() == (0, [], "1 run with 10 events verified: no problems")


def test_it_takes_no_lock_that_an_append_would_wait_for() -> None:
    make_run("order-1")
    modes = set[str]()

    def look_at_locks(execute: Callable[..., Any], *context: Any) -> Any:
        answer = execute(*context)
        held = "SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('relation', 'tuple')"
        modes.update(mode for (mode,) in connection.connection.execute(held))
        return answer

    with connection.execute_wrapper(look_at_locks):
        assert verify()[0] == 0
    assert modes == {"AccessShareLock"}


def test_beside_running_appends_nothing_is_found() -> None:
    uids = make_runs(40)
    stop = threading.Event()
    appended = list[int]()

    def work() -> None:
        with session() as own:
            while not stop.is_set():
                append(uids[len(appended) % 40], None, ("note", None, 1), ("note", "größe", {"n": 2}), session=own)
                appended.append(1)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            for _ in range(5):
                before = len(appended)
                assert verify()[:2] == (0, [])
                wait_until(lambda before=before: len(appended) > before + 20, "more appends")  # type: ignore[misc]
        finally:
            stop.set()
        working.result(timeout=20)
    assert verify()[:2] == (0, [])
    assert len(appended) > 100


def test_bounds_of_a_time_are_those_of_its_uids() -> None:
    now = timezone.now()
    first, last = verifying.uids_between(now - datetime.timedelta(seconds=5), now + datetime.timedelta(seconds=5))
    assert first < uuid7() < last
