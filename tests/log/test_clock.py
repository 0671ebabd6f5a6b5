"""The database's clock goes back, or ahead and back: what is due goes on, and nothing that sleeps goes on early."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from django_hookflow.projections import diff, rebuild
from tests.log.calls import (
    Event,
    Row,
    announced,
    append,
    ask,
    claim,
    failure,
    head_of,
    log_of,
    operate,
    set_clock,
    settle,
    sleep,
    start,
    step,
    types_of,
    waits_of,
)

pytestmark = pytest.mark.django_db

TURN: Event = ("turn.started", None, None)


def next_seq(run_uid: UUID) -> int:
    """The place in the log that the message names."""
    row = announced(run_uid)
    assert row is not None
    return int(row["seq"])


def answer(run_id: str, run_uid: UUID) -> str:
    return str(claim(run_id, next_seq(run_uid))[0]["answer"])


@pytest.fixture
def run() -> Row:
    return start("order-1")


def test_a_turn_that_may_begin_at_once_begins_when_the_clock_has_gone_back(run: Row) -> None:
    set_clock(-1)
    assert answer("order-1", run["run_uid"]) == "run"


def test_a_turn_that_goes_on_does_so_when_the_clock_has_gone_back(run: Row) -> None:
    claim("order-1", 1)
    append(run["run_uid"], 2, step("a"), ends_turn=True, goes_on=True)
    set_clock(-1)
    assert answer("order-1", run["run_uid"]) == "run"


def test_a_turn_that_was_lost_is_taken_up_again_when_the_clock_has_gone_back(run: Row) -> None:
    """Its lease says nothing: who renewed it in the future cannot be asked."""
    claim("order-1", 1, lease=60)
    assert claim("order-1", 1)[0]["answer"] == "busy"
    set_clock(-1)
    assert claim("order-1", 1)[0]["answer"] == "run"
    assert types_of(run["run_uid"]) == ["run.triggered", "turn.started", "turn.abandoned", "turn.started"]


def test_a_sleep_that_was_due_and_taken_up_is_not_slept_again(run: Row) -> None:
    append(run["run_uid"], 1, sleep("nap", 60), ends_turn=True)
    set_clock(1)
    (first, *_) = claim("order-1", 2)
    assert (first["answer"], waits_of(run["run_uid"])) == ("run", [])
    set_clock(0)
    assert claim("order-1", 2)[0]["answer"] == "run"  # the worker has been lost; what was due then is due still
    assert types_of(run["run_uid"])[-3:] == ["turn.started", "turn.abandoned", "turn.started"]


def test_a_lease_is_renewed_by_the_clock_that_is(run: Row) -> None:
    (turn,) = claim("order-1", 1)
    set_clock(-1)
    assert ask("SELECT hookflow_renew(%s, %s, interval '60 s') AS ok", run["run_uid"], turn["turn_seq"]) == [
        {"ok": True}
    ]
    (busy,) = claim("order-1", 1)
    assert (busy["answer"], 59 < busy["later"] <= 60) == ("busy", True)


def test_a_sleep_is_never_over_early_and_can_be_ended(run: Row) -> None:
    append(run["run_uid"], 1, sleep("nap", 60), ends_turn=True)
    set_clock(-1)
    (early,) = claim("order-1", 2)
    assert (early["answer"], 3650 < early["later"] <= 3660) == ("early", True)
    assert operate(run["run_uid"], "wake")["applied"]
    assert types_of(run["run_uid"])[-2:] == ["run.woken", "step.completed"]
    assert answer("order-1", run["run_uid"]) == "run"


def test_a_run_that_was_paused_goes_on_when_it_is_resumed(run: Row) -> None:
    append(run["run_uid"], 1, sleep("nap", 0), ends_turn=True)
    set_clock(1)
    operate(run["run_uid"], "pause")
    assert announced(run["run_uid"]) is None
    set_clock(0)
    assert operate(run["run_uid"], "resume")["applied"]
    assert answer("order-1", run["run_uid"]) == "run"


def test_a_paused_run_without_waits_is_resumed_at_once_by_whatever_clock(run: Row) -> None:
    set_clock(1)
    operate(run["run_uid"], "pause")
    set_clock(0)
    operated = operate(run["run_uid"], "resume")
    assert (operated["applied"], operated["delay"]) == (True, 0)
    assert answer("order-1", run["run_uid"]) == "run"


def test_what_is_settled_goes_on_at_once_by_whatever_clock(run: Row) -> None:
    set_clock(1)
    append(run["run_uid"], 1, ("step.suspended", "ask", None, {"kind": "callback"}), ends_turn=True)
    set_clock(0)
    assert settle(run["run_uid"], "ask", "callback", {"result": 1})
    assert answer("order-1", run["run_uid"]) == "run"


def test_time_in_a_run_does_not_go_back_and_yet_a_sleep_counts_from_now(run: Row) -> None:
    set_clock(1)
    append(run["run_uid"], 1, step("a"))
    ahead = head_of(run["run_uid"])["last_at"]
    set_clock(0)
    append(run["run_uid"], 2, sleep("nap", 60), ends_turn=True)
    assert log_of(run["run_uid"])[2]["recorded_at"] == ahead
    (early,) = claim("order-1", 3)
    assert 59 < early["later"] <= 60
    assert list(diff()) == []


def test_what_began_while_the_clock_was_ahead_is_due_by_that_clock_or_ended_by_hand(run: Row) -> None:
    set_clock(1)
    append(run["run_uid"], 1, sleep("nap", 60), ends_turn=True)
    set_clock(0)
    (early,) = claim("order-1", 2)
    assert (early["answer"], 3600 < early["later"] <= 3660) == ("early", True)
    operate(run["run_uid"], "wake")
    assert answer("order-1", run["run_uid"]) == "run"


def test_a_released_run_comes_again_by_the_clock_that_is(run: Row) -> None:
    set_clock(1)
    (turn,) = claim("order-1", 1)
    set_clock(0)
    ask("SELECT hookflow_release(%s, %s, interval '5 s')", run["run_uid"], turn["turn_seq"])
    (row,) = ask("SELECT extract(epoch FROM send_at - hookflow_now())::float8 AS later FROM django_hookflow_outbox")
    assert 4 < row["later"] <= 5
    assert answer("order-1", run["run_uid"]) == "run"


# Deadlines.


def deadline_of(run_uid: UUID) -> Any:
    rows = ask("SELECT due_at FROM django_hookflow_wait WHERE run_uid = %s AND kind = 'deadline'", run_uid)
    return rows[0]["due_at"] if rows else None


def test_a_deadline_stands_through_failure_replay_rewind_and_rebuild() -> None:
    uid = start("order-1", timeout=100)["run_uid"]
    due = deadline_of(uid)
    append(uid, 1, TURN, step("a"))
    failed_seq = append(uid, None, failure("b"))
    assert deadline_of(uid) is None
    operate(uid, "replay", step_id="b", facts={"failed_seq": failed_seq})
    assert deadline_of(uid) == due
    append(uid, None, failure("b"))
    operate(uid, "rewind", step_id="a")
    assert deadline_of(uid) == due
    append(uid, None, ("run.completed", None, {"result": 1}))
    append(uid, None, ("run.rewound", None, None))
    assert deadline_of(uid) == due
    ask("DELETE FROM django_hookflow_wait")
    assert sum(part.repaired["Wait"] for part in rebuild()) == 1
    assert deadline_of(uid) == due
    set_clock(1)
    assert ask("SELECT hookflow_expire('shop.order', 'order-1') AS answer") == [{"answer": "failed"}]
    (row,) = ask("SELECT status, error_type FROM django_hookflow_workflowrun")
    assert row == {"status": "failed", "error_type": "RunTimedOut"}
    assert list(diff()) == []


def test_a_run_replayed_within_its_time_is_failed_when_that_is_up() -> None:
    """A run with a timeout of 100 s that failed and was replayed once went on for ever."""
    uid = start("order-1", timeout=100)["run_uid"]
    failed_seq = append(uid, 1, failure(), ends_turn=True)
    operate(uid, "replay", facts={"failed_seq": failed_seq})
    set_clock(1)
    assert answer("order-1", uid) == "failed"
    assert types_of(uid)[-1] == "run.failed"


def test_a_run_whose_time_was_up_is_failed_again_when_it_is_replayed() -> None:
    uid = start("order-1", timeout=0)["run_uid"]
    assert answer("order-1", uid) == "failed"
    operate(uid, "replay", facts={"failed_seq": 2})
    assert answer("order-1", uid) == "failed"
    assert types_of(uid) == ["run.triggered", "run.failed", "run.replayed", "run.failed"]


def test_a_paused_run_is_failed_when_its_time_is_up_and_not_before() -> None:
    uid = start("order-1", timeout=1800)["run_uid"]
    operate(uid, "pause")
    row = announced(uid)
    assert row is not None
    assert row["due_at"] == row["send_at"] == deadline_of(uid)
    assert answer("order-1", uid) == "early"
    assert ask("SELECT hookflow_expire('shop.order', 'order-1') AS answer") == [{"answer": "early"}]
    set_clock(1)
    assert answer("order-1", uid) == "failed"
    assert ask("SELECT hookflow_expire('shop.order', 'order-1') AS answer") == [{"answer": "stale"}]


def test_a_turn_under_way_does_not_keep_a_deadline_from_passing() -> None:
    """The message comes again at the deadline, and whoever takes it fails the run, lease or not."""
    uid = start("order-1", timeout=30)["run_uid"]
    claim("order-1", 1, lease=3600)
    row = announced(uid)
    assert row is not None
    assert row["send_at"] == deadline_of(uid)
    set_clock(0.5)
    assert answer("order-1", uid) == "failed"
    assert types_of(uid)[-1] == "run.failed"


def test_a_run_without_a_timeout_has_no_deadline() -> None:
    start("order-1")
    set_clock(24 * 365 * 100)
    assert ask("SELECT hookflow_expire('shop.order', 'order-1') AS answer") == [{"answer": "stale"}]
