"""Claiming a turn: every answer there is, and what a takeover leaves in the log."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from tests.log.calls import Row, announced, append, ask, claim, log_of, sleep, start, step, types_of

pytestmark = pytest.mark.django_db


def lease_of(run_uid: Any) -> list[Row]:
    return ask("SELECT * FROM django_hookflow_lease WHERE run_uid = %s", run_uid)


def test_unknown_is_a_run_that_the_workflow_does_not_have() -> None:
    start("order-1")
    assert [row["answer"] for row in claim("order-2", 1)] == ["unknown"]
    assert [row["answer"] for row in claim("order-1", 1, workflow_id="shop.refund")] == ["unknown"]


def test_run_comes_with_the_history_and_a_turn() -> None:
    run = start("order-1", {"amount": 5})
    first = claim("order-1", 1)
    assert [(row["answer"], row["type"], row["seq"]) for row in first] == [("run", "run.triggered", 1)]
    assert first[0]["turn_seq"] == 2
    append(run["run_uid"], 2, step("a", 1), ends_turn=True, goes_on=True)
    second = claim("order-1", 3)
    assert [row["type"] for row in second] == ["run.triggered", "step.completed"]
    assert {row["turn_seq"] for row in second} == {4}
    event = log_of(run["run_uid"])[2]
    assert (second[1]["facts"], second[1]["payload"]) == (event["facts_text"], event["payload_text"])
    assert types_of(run["run_uid"]).count("turn.started") == 2


def test_busy_until_the_lease_ends() -> None:
    run = start("order-1")
    claim("order-1", 1, lease=60)
    (answer,) = claim("order-1", 1)
    assert answer["answer"] == "busy"
    assert 59 < answer["later"] <= 60
    assert types_of(run["run_uid"]) == ["run.triggered", "turn.started"]


def test_early_until_the_turn_is_due() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, sleep("nap", 3600), ends_turn=True)
    (answer,) = claim("order-1", 2)
    assert (answer["answer"], 3590 < answer["later"] <= 3600) == ("early", True)
    assert types_of(run["run_uid"]) == ["run.triggered", "step.suspended"]


def test_stale_is_a_message_of_an_earlier_turn_and_one_from_nowhere() -> None:
    run = start("order-1")
    claim("order-1", 1)
    append(run["run_uid"], 2, step("a"), ends_turn=True, goes_on=True)
    assert [row["answer"] for row in claim("order-1", 1)] == ["stale"]
    assert [row["answer"] for row in claim("order-1", 2)] == ["stale"]
    assert [row["answer"] for row in claim("order-1", 99)] == ["stale"]
    assert claim("order-1", 3)[0]["answer"] == "run"


@pytest.mark.parametrize("end", ["run.completed", "run.failed", "run.cancelled"])
def test_finished_is_a_run_that_has_ended(end: str) -> None:
    run = start("order-1")
    claim("order-1", 1)
    append(run["run_uid"], 2, (end, None, {}), ends_turn=True)
    for seq in (1, 2, 3):
        assert [row["answer"] for row in claim("order-1", seq)] == ["finished"]
    assert lease_of(run["run_uid"]) == []


def test_an_expired_lease_is_taken_over_and_the_abandoned_turn_recorded() -> None:
    run = start("order-1")
    (first,) = claim("order-1", 1, lease=-1)
    (second, abandoned) = claim("order-1", 1)
    assert (second["type"], abandoned["type"]) == ("run.triggered", "turn.abandoned")
    assert (second["answer"], second["turn_seq"]) == ("run", 4)
    assert types_of(run["run_uid"]) == ["run.triggered", "turn.started", "turn.abandoned", "turn.started"]
    assert log_of(run["run_uid"])[2]["facts"] == {"turn_seq": first["turn_seq"]}
    with pytest.raises(IntegrityError, match="order-1 is at seq 4, expected 2"), transaction.atomic():
        append(run["run_uid"], first["turn_seq"], step("a"))


def test_a_lost_lease_table_hands_the_run_to_the_next_claim() -> None:
    """The table is UNLOGGED: after a crash of the server it is empty, and the fence alone has to do."""
    run = start("order-1")
    (first,) = claim("order-1", 1)
    ask("DELETE FROM django_hookflow_lease")
    assert claim("order-1", 1)[0]["answer"] == "run"
    with pytest.raises(IntegrityError), transaction.atomic():
        append(run["run_uid"], first["turn_seq"], step("a"))


def test_renewing_is_the_right_of_the_turn_that_holds_the_run() -> None:
    run = start("order-1")
    (first,) = claim("order-1", 1, lease=-1)
    renew = "SELECT hookflow_renew(%s, %s, interval '60 s') AS renewed"
    assert ask(renew, run["run_uid"], first["turn_seq"]) == [{"renewed": True}]
    assert [row["answer"] for row in claim("order-1", 1)] == ["busy"]
    ask("UPDATE django_hookflow_lease SET expires_at = '-infinity'")
    claim("order-1", 1)
    assert ask(renew, run["run_uid"], first["turn_seq"]) == [{"renewed": False}]


def test_a_released_run_is_taken_up_again_and_nothing_was_abandoned() -> None:
    run = start("order-1")
    (first,) = claim("order-1", 1)
    release = "SELECT hookflow_release(%s, %s, interval '5 s') AS released"
    assert ask(release, run["run_uid"], first["turn_seq"]) == [{"released": True}]
    row = announced(run["run_uid"])
    assert row is not None
    assert (row["turn_seq"], lease_of(run["run_uid"])) == (None, [])
    (second,) = claim("order-1", 1)
    assert (second["answer"], second["turn_seq"]) == ("run", 3)
    assert ask(release, run["run_uid"], first["turn_seq"]) == [{"released": False}]
    assert lease_of(run["run_uid"])[0]["token"] == 3
