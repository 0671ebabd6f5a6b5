"""Two sessions at once: each race is arranged, the second session seen waiting before the first goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.log.calls import append, claim, log_of, session, start, step, types_of, wait_until_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def second_waits_for_first(
    first: Callable[[psycopg.Connection[Any]], Any], second: Callable[[psycopg.Connection[Any]], Any]
) -> Iterator[tuple[psycopg.Connection[Any], Future[Any]]]:
    """``first`` done but not committed, ``second`` seen waiting for it: the first session, the second's outcome."""
    with ExitStack() as stack:
        one, two = stack.enter_context(session()), stack.enter_context(session())
        pool = stack.enter_context(ThreadPoolExecutor(1))
        one.autocommit = False
        first(one)
        outcome = pool.submit(second, two)
        wait_until_blocked(two.info.backend_pid, "the second session waits for the first")
        yield one, outcome


def test_of_two_appends_at_once_one_wins_and_there_is_no_gap() -> None:
    uid = start("order-1")["run_uid"]
    appends = [lambda s, name=name: append(uid, 1, step(name), step(f"{name}2"), session=s) for name in "ab"]
    with second_waits_for_first(*appends) as (one, second):
        one.commit()
        with pytest.raises(psycopg.errors.UniqueViolation, match="run order-1 is at seq 3, expected 1"):
            second.result(timeout=20)
    assert [(event["seq"], event["step_id"]) for event in log_of(uid)] == [(1, None), (2, "a"), (3, "a2")]


def test_the_second_append_is_taken_when_the_first_is_rolled_back() -> None:
    uid = start()["run_uid"]
    appends = [lambda s, name=name: append(uid, 1, step(name), session=s) for name in "ab"]
    with second_waits_for_first(*appends) as (one, second):
        one.rollback()
        assert second.result(timeout=20) == 2
    assert [event["step_id"] for event in log_of(uid)] == [None, "b"]


def test_an_operators_append_waits_and_then_stands_behind() -> None:
    uid = start()["run_uid"]
    with second_waits_for_first(
        lambda s: append(uid, 1, step("a"), session=s),
        lambda s: append(uid, None, ("run.cancelled", None, {}), actor="ada", session=s),
    ) as (one, second):
        one.commit()
        assert second.result(timeout=20) == 3
    assert types_of(uid) == ["run.triggered", "step.completed", "run.cancelled"]


def test_of_two_deliveries_at_once_one_runs_and_the_other_finds_it_busy() -> None:
    """Scenario 4, in the small: the two claims meet at the run's head."""
    uid = start("order-1")["run_uid"]
    with second_waits_for_first(lambda s: claim("order-1", 1, session=s), lambda s: claim("order-1", 1, session=s)) as (
        one,
        second,
    ):
        one.commit()
        assert [row["answer"] for row in second.result(timeout=20)] == ["busy"]
    assert types_of(uid) == ["run.triggered", "turn.started"]


def test_a_takeover_waits_for_a_late_append_and_then_has_it_in_its_history() -> None:
    uid = start("order-1")["run_uid"]
    claim("order-1", 1, lease=-1)
    with second_waits_for_first(
        lambda s: append(uid, 2, step("late"), session=s), lambda s: claim("order-1", 1, session=s)
    ) as (one, second):
        one.commit()
        history = second.result(timeout=20)
    assert [row["type"] for row in history] == ["run.triggered", "step.completed", "turn.abandoned"]
    assert types_of(uid)[2:] == ["step.completed", "turn.abandoned", "turn.started"]


def test_a_worker_frozen_before_its_commit_is_taken_over_from_when_postgresql_ends_its_session() -> None:
    """What the README advises: nothing else distinguishes a session whose process is frozen, from one that thinks."""
    uid = start("order-1")["run_uid"]
    claim("order-1", 1, lease=-1)

    def append_and_freeze(frozen: psycopg.Connection[Any]) -> None:
        frozen.execute("SET idle_in_transaction_session_timeout = '3s'")
        append(uid, 2, step("half done"), session=frozen)

    with second_waits_for_first(append_and_freeze, lambda s: claim("order-1", 1, session=s)) as (frozen, second):
        assert [row["answer"] for row in second.result(timeout=60)] == ["run", "run"]
        with pytest.raises(psycopg.Error, match="idle-in-transaction timeout"):
            frozen.commit()
    assert types_of(uid) == ["run.triggered", "turn.started", "turn.abandoned", "turn.started"]


def test_a_stalled_turn_that_waits_behind_a_takeover_is_refused() -> None:
    uid = start("order-1")["run_uid"]
    claim("order-1", 1, lease=-1)
    with second_waits_for_first(
        lambda s: claim("order-1", 1, session=s), lambda s: append(uid, 2, step("late"), session=s)
    ) as (one, second):
        one.commit()
        with pytest.raises(psycopg.errors.UniqueViolation, match="is at seq 4, expected 2"):
            second.result(timeout=20)
    assert "step.completed" not in types_of(uid)
