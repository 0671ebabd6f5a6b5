"""What is begun and not settled: how each kind of wait begins, what ends it, and what a run's end does to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from django_hookflow.events.types import CATALOGUE
from django_hookflow.projections import diff
from tests.log.calls import (
    Event,
    Row,
    announced,
    append,
    appended,
    ask,
    claim,
    failure,
    log_of,
    operate,
    settle,
    sleep,
    start,
    step,
    types_of,
    waits_of,
)

pytestmark = pytest.mark.django_db

TURN: Event = ("turn.started", None, None)


def suspended(step_id: str, kind: str, **facts: Any) -> Event:
    return ("step.suspended", step_id, None, {"kind": kind, **facts})


def failed(step_id: str, retry_in: float | None, attempt: int = 1) -> Event:
    facts = {"kind": "run", "attempt": attempt, "of": 3, "took": 0.5, "retry_in": retry_in, "error": "E"}
    return ("step.failed", step_id, {"message": "no", "traceback": ""}, facts)


def wait_of(run_uid: UUID, kind: str) -> Row:
    (row,) = ask("SELECT * FROM django_hookflow_wait WHERE run_uid = %s AND kind = %s", run_uid, kind)
    return row


#: How each kind of wait begins, the events that settle it, and some that do not.
BACKOFF = suspended("a", "backoff", seconds=60, attempt=1)
RUN_BACKOFF: Event = ("turn.failed", None, {"message": "no", "traceback": ""}, {"attempt": 1, "retry_in": 60})
HOLD: Event = ("run.paused", None, {"reason": ""})
DIVERGENCE: Event = ("run.diverged", None, {"message": "no"}, {"error": "E"})
SETTLED_BY: list[tuple[Event, tuple[str, str], list[Event], list[Event]]] = [
    (
        sleep("a", 60),
        ("a", "sleep"),
        [step("a"), ("step.superseded", "a", None), ("step.retried", "a", None, {"attempt": 2}), failed("a", None)],
        [step("b"), TURN, ("run.woken", None, {"reason": ""}), ("run.resumed", None, {"reason": ""})],
    ),
    (
        BACKOFF,
        ("a", "backoff"),
        [("step.retried", "a", None, {"attempt": 2}), failed("a", None, 2)],
        [TURN, failed("b", 1)],
    ),
    (
        suspended("a", "doubt", step_kind="run", attempt=1),
        ("a", "doubt"),
        [step("a"), ("step.superseded", "a", None)],
        [("step.resolved", "a", {"reason": ""}), ("step.intended", "a", None, {"kind": "run", "attempt": 1}), TURN],
    ),
    (suspended("a", "callback", key="k"), ("a", "callback"), [step("a")], [TURN, ("run.woken", None, {"reason": ""})]),
    (
        RUN_BACKOFF,
        ("", "backoff"),
        [TURN, ("run.woken", None, None), ("run.rewound", None, None)],
        [step("a"), BACKOFF],
    ),
    (
        ("run.delayed", None, None, {"until": "2070-01-01T00:00:00Z"}),
        ("", "start"),
        [TURN, ("run.woken", None, None)],
        [("run.noted", None, {"reason": ""})],
    ),
    (HOLD, ("", "hold"), [("run.resumed", None, None), ("run.rewound", None, None)], [step("a"), TURN, RUN_BACKOFF]),
    (DIVERGENCE, ("", "divergence"), [("run.resumed", None, None), ("run.rewound", None, None)], [step("a"), TURN]),
]


@pytest.mark.parametrize(("begins", "wait", "settling", "others"), SETTLED_BY, ids=lambda value: str(value)[:40])
def test_a_wait_stands_from_what_begins_it_to_what_settles_it(
    begins: Event, wait: tuple[str, str], settling: list[Event], others: list[Event]
) -> None:
    for settles in settling:
        uid = start()["run_uid"]
        append(uid, None, begins)
        assert waits_of(uid) == [wait]
        append(uid, None, *others)
        assert wait in waits_of(uid)
        append(uid, None, settles)
        assert wait not in waits_of(uid), settles
    assert list(diff()) == []


def test_every_kind_of_wait_of_the_catalogue_is_tried_above() -> None:
    tried = {wait[1] for _, wait, _, _ in SETTLED_BY} | {"deadline"}
    begun = {each.waits_begun for each in CATALOGUE.values() if each.waits_begun} - {"kind"}
    assert tried == begun | {"sleep", "doubt", "callback"}


def test_a_wait_keeps_what_it_waits_for() -> None:
    uid = start()["run_uid"]
    append(uid, 1, suspended("a", "callback", key="k-1", scope="left", seconds=30))
    wait, event = wait_of(uid, "callback"), log_of(uid)[1]
    assert (wait["key"], wait["scope"], wait["since_seq"], wait["id"]) == ("k-1", "left", 2, event["position"])
    assert wait["due_at"].isoformat() == event["facts"]["until"].replace("Z", "+00:00")
    append(uid, 2, suspended("a", "callback", key="k-2"))
    wait = wait_of(uid, "callback")
    assert (wait["key"], wait["scope"], wait["due_at"], wait["since_seq"]) == ("k-2", None, None, 3)


def test_only_a_timeout_makes_a_deadline() -> None:
    assert waits_of(start()["run_uid"]) == []
    uid = start(timeout=100)["run_uid"]
    assert waits_of(uid) == [("", "deadline")]
    (row,) = ask(
        "SELECT due_at - recorded_at AS length FROM django_hookflow_wait JOIN django_hookflow_event USING (run_uid)"
    )
    assert row["length"].total_seconds() == 100


def test_a_run_that_ends_waits_for_nothing_and_one_that_is_replayed_waits_as_before() -> None:
    uid = start(timeout=3600)["run_uid"]
    append(uid, None, TURN, sleep("nap", 60), suspended("ask", "callback", key="k"), failed("c", 5), BACKOFF)
    before = ask("SELECT * FROM django_hookflow_wait WHERE run_uid = %s ORDER BY since_seq", uid)
    assert waits_of(uid) == [("", "deadline"), ("nap", "sleep"), ("ask", "callback"), ("a", "backoff")]
    failure_seq = append(uid, None, failure("c"))
    assert waits_of(uid) == []
    assert list(diff()) == []
    operate(uid, "replay", step_id="c", facts={"failed_seq": failure_seq})
    assert ask("SELECT * FROM django_hookflow_wait WHERE run_uid = %s ORDER BY since_seq", uid) == before
    assert list(diff()) == []


@pytest.mark.parametrize("end", ["run.completed", "run.failed", "run.cancelled"])
def test_nothing_begins_to_wait_in_a_run_that_has_ended(end: str) -> None:
    """A worker may be at a step while its run is cancelled, and record how it went."""
    uid = start(timeout=60)["run_uid"]
    turn = append(uid, 1, TURN)
    append(uid, None, (end, None, None))
    append(uid, turn, failed("a", 5), BACKOFF, sleep("nap", 5))
    assert waits_of(uid) == []
    assert list(diff()) == []


@pytest.mark.parametrize("way_back", ["rewind", "replay"])
def test_a_step_that_is_run_again_waits_no_longer(way_back: str) -> None:
    uid = start()["run_uid"]
    append(uid, None, TURN, step("first"), failed("a", 60), BACKOFF)
    failed_seq = append(uid, None, failure("a"))
    operate(uid, way_back, step_id="a", facts={"failed_seq": failed_seq})
    assert waits_of(uid) == []
    assert list(diff()) == []


# hookflow_settle: the one way out.


def test_a_settled_sleep_or_callback_completes_its_step() -> None:
    uid = start()["run_uid"]
    append(uid, 1, sleep("nap", 60), suspended("ask", "callback", key="k", attempt=1), ends_turn=True)
    assert settle(uid, "ask", "callback", {"result": "yes"}, actor="ada")
    assert settle(uid, "nap", "sleep")
    answer, nap = log_of(uid)[-2:]
    assert (answer["type"], answer["payload"], answer["actor"]) == ("step.completed", {"result": "yes"}, "ada")
    assert answer["facts"] == {"kind": "callback", "attempt": 1, "took": 0}
    assert (nap["payload"], nap["facts"]["kind"]) == ({"result": None}, "sleep")
    assert waits_of(uid) == []


def test_a_settled_backoff_lets_the_next_attempt_begin() -> None:
    uid = start()["run_uid"]
    append(uid, 1, failed("a", 60, attempt=2), suspended("a", "backoff", seconds=60, attempt=2), ends_turn=True)
    assert settle(uid, "a", "backoff")
    event = log_of(uid)[-1]
    assert (event["type"], event["facts"], event["payload"]) == ("step.retried", {"attempt": 3}, None)


def test_a_settled_doubt_says_of_what_kind_the_step_was_and_that_somebody_resolved_it() -> None:
    uid = start()["run_uid"]
    append(uid, 1, suspended("a", "doubt", step_kind="call", attempt=2), ends_turn=True)
    assert settle(uid, "a", "doubt", {"result": 7})
    event = log_of(uid)[-1]
    assert event["facts"] == {"kind": "call", "attempt": 2, "took": 0, "resolved": True}
    assert event["payload"] == {"result": 7}


@pytest.mark.parametrize(("step_id", "kind"), [("nap", "callback"), ("other", "sleep"), ("", "sleep")])
def test_what_does_not_wait_is_not_settled(step_id: str, kind: str) -> None:
    uid = start()["run_uid"]
    append(uid, 1, sleep("nap", 60), ends_turn=True)
    assert not settle(uid, step_id, kind)
    assert settle(uid, "nap", "sleep")
    assert not settle(uid, "nap", "sleep")
    assert types_of(uid).count("step.completed") == 1


def test_settling_announces_the_turn_at_once_when_nothing_else_is_waited_for() -> None:
    uid = start(timeout=3600)["run_uid"]
    append(uid, 1, suspended("ask", "callback"), sleep("nap", 60), ends_turn=True)
    settle(uid, "ask", "callback")
    row = announced(uid)
    assert row is not None
    assert (row["seq"], row["due_at"]) == (4, wait_of(uid, "sleep")["due_at"])
    settle(uid, "nap", "sleep")
    row = announced(uid)
    assert row is not None
    assert (row["seq"], row["due_at"], row["turn_seq"]) == (5, None, None)


def test_settling_beside_a_turn_that_is_under_way_leaves_it_its_announcement() -> None:
    run = start("order-1")
    claim("order-1", 1)
    append(run["run_uid"], 2, suspended("ask", "callback"))
    before = announced(run["run_uid"])
    assert settle(run["run_uid"], "ask", "callback", {"result": 1})
    assert announced(run["run_uid"]) == before
    assert claim("order-1", 1)[0]["answer"] == "busy"


# hookflow_announce: when the next turn is due follows from the waits and from nothing else.


def due_after(*events: Event, timeout: float | None = None, goes_on: bool = False) -> float | None:
    """In how many seconds the next turn is due when a turn ends with these events, as the outbox has it, too."""
    uid = start(timeout=timeout)["run_uid"]
    answer: float | None = appended(uid, 1, *events, ends_turn=True, goes_on=goes_on)["next_in"]
    row = announced(uid)
    if row is None or row["due_at"] is None:
        assert answer == (None if row is None else 0)
    else:
        assert answer is not None
        assert abs((row["due_at"] - row["announced_at"]).total_seconds() - answer) < 0.001
    return None if answer is None else float(round(answer))


@pytest.mark.parametrize(
    ("events", "timeout", "due"),
    [
        ([step("a")], None, 0),
        ([step("a")], 100, 0),
        ([sleep("a", 60)], None, 60),
        ([sleep("a", 60), sleep("b", 30), BACKOFF], None, 30),
        ([sleep("a", 60)], 40, 40),
        ([suspended("a", "callback")], None, None),
        ([suspended("a", "callback")], 100, 100),
        ([suspended("a", "callback"), sleep("b", 20)], 100, 20),
        ([suspended("a", "doubt")], None, None),
        ([RUN_BACKOFF], None, 60),
        ([HOLD], None, None),
        ([HOLD, sleep("a", 10)], None, None),
        ([HOLD, sleep("a", 10)], 100, 100),
        ([DIVERGENCE, BACKOFF], 100, 100),
        ([DIVERGENCE], None, None),
    ],
)
def test_the_next_turn_is_due_when_the_first_of_the_waits_is(
    events: list[Event], timeout: float | None, due: float | None
) -> None:
    assert due_after(*events, timeout=timeout) == due


def test_a_turn_that_has_more_to_do_goes_on_at_once_whatever_the_run_waits_for() -> None:
    assert due_after(sleep("a", 60), timeout=100, goes_on=True) == 0
    assert due_after(suspended("a", "callback"), goes_on=True) == 0


def test_a_run_that_waits_for_somebody_is_announced_to_nobody() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, suspended("ask", "callback"), ends_turn=True)
    assert ask("SELECT FROM django_hookflow_outbox") == []
    assert [row["answer"] for row in claim("order-1", 2)] == ["stale"]


# The claim settles what has come due before it hands out the history.


def test_what_has_come_due_is_settled_by_the_claim() -> None:
    run = start("order-1")
    later = suspended("later", "sleep", seconds=3600)
    append(
        run["run_uid"],
        1,
        sleep("nap", 0),
        failed("a", 0),
        suspended("a", "backoff", seconds=0, attempt=1),
        later,
        ends_turn=True,
    )
    history = claim("order-1", 5)
    assert {row["answer"] for row in history} == {"run"}
    assert [(row["type"], row["step_id"]) for row in history][-2:] == [("step.completed", "nap"), ("step.retried", "a")]
    assert waits_of(run["run_uid"]) == [("later", "sleep")]
    assert types_of(run["run_uid"])[-3:] == ["step.completed", "step.retried", "turn.started"]
    assert list(diff()) == []


def test_what_somebody_was_to_settle_the_claim_settles_when_its_time_is_up() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, suspended("ask", "callback", seconds=0), suspended("tell", "callback"), ends_turn=True)
    assert claim("order-1", 3)[0]["answer"] == "run"
    assert waits_of(run["run_uid"]) == [("tell", "callback")]
    event = log_of(run["run_uid"])[-2]
    assert (event["type"], event["step_id"], event["payload"]) == ("step.completed", "ask", {"result": None})
    assert event["facts"] == {"kind": "callback", "attempt": 1, "took": 0, "timed_out": True}


def test_a_backoff_of_the_run_is_taken_by_the_turn_that_follows_it() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, ("turn.failed", None, None, {"attempt": 1, "retry_in": 0}), ends_turn=True)
    assert waits_of(run["run_uid"]) == [("", "backoff")]
    assert claim("order-1", 2)[0]["answer"] == "run"
    assert waits_of(run["run_uid"]) == []
    assert types_of(run["run_uid"])[-1] == "turn.started"
