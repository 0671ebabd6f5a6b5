"""Starting: once for each run id, whoever asks and however often."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError

from tests.log.calls import Row, append, ask, head_of, log_of, session, start, wait_until_blocked

THREADS = 20


def start_from_threads(datas: list[Any]) -> list[Row]:
    """One start of run ``order-1`` from each of many threads, all at the same moment."""
    barrier = threading.Barrier(len(datas))

    def begin(data: Any) -> Row:
        with session() as own:
            barrier.wait(timeout=20)
            return start("order-1", data, session=own)

    with ThreadPoolExecutor(len(datas)) as pool:
        return list(pool.map(begin, datas))


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_with_the_same_data_get_one_run() -> None:
    """Scenario 10 of the reviewer's list, first half."""
    answers = start_from_threads([{"amount": 1}] * THREADS)
    assert len({answer["run_uid"] for answer in answers}) == 1
    assert sum(answer["created"] for answer in answers) == 1
    assert all(answer["same"] for answer in answers)
    assert len(log_of(answers[0]["run_uid"])) == 1
    assert len(ask("SELECT FROM django_hookflow_outbox")) == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_with_other_data_learn_it() -> None:
    """Scenario 10, second half."""
    answers = start_from_threads([{"amount": n} for n in range(THREADS)])
    assert len({answer["run_uid"] for answer in answers}) == 1
    assert [answer["same"] for answer in answers] == [answer["created"] for answer in answers]
    assert sum(answer["created"] for answer in answers) == 1


@pytest.mark.django_db
def test_the_same_data_in_other_words_is_the_same_run() -> None:
    run = start("order-1", {"b": 1, "a": [1, 2]})
    again = start("order-1", {"a": [1, 2], "b": 1.0})
    assert (again["run_uid"], again["created"], again["same"]) == (run["run_uid"], False, True)
    assert start("order-1", {"a": [2, 1], "b": 1})["same"] is False


@pytest.mark.django_db
def test_a_later_start_answers_with_the_length_of_the_log() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, ("turn.started", None, None))
    assert start("order-1")["seq"] == 2


@pytest.mark.django_db
def test_the_id_of_an_archived_run_is_not_used_again() -> None:
    run = start("order-1")
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now() WHERE run_uid = %s", run["run_uid"])
    with pytest.raises(IntegrityError, match="run order-1 is archived"):
        start("order-1")


@pytest.mark.django_db(transaction=True)
def test_a_start_waits_for_one_that_is_rolled_back_and_then_makes_the_run() -> None:
    with session() as first, session() as second, ThreadPoolExecutor(1) as pool:
        first.autocommit = False
        start("order-1", "first", session=first)
        waiting = pool.submit(start, "order-1", "second", session=second)
        wait_until_blocked(second.info.backend_pid, "the second start waits for the first")
        first.rollback()
        answer = waiting.result(timeout=20)
    assert answer["created"]
    assert head_of(answer["run_uid"])["last_seq"] == 1


@pytest.mark.django_db
def test_the_uid_is_the_callers() -> None:
    uid = uuid.uuid4()
    assert start(run_uid=uid)["run_uid"] == uid
