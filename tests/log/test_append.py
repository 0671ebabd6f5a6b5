"""Appending: numbers without gaps, and who is refused."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from tests.log.calls import announced, append, appended, ask, head_of, log_of, sleep, start, step, types_of

pytestmark = pytest.mark.django_db


def refusal_of(*arguments: Any, **options: Any) -> Any:
    """The diagnostics of the server's refusal of an append."""
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        append(*arguments, **options)
    return caught.value.__cause__.diag  # type: ignore[union-attr]


def test_seqs_have_no_gaps_whatever_the_sizes_of_appends() -> None:
    uid = start()["run_uid"]
    seq = 1
    for size in (1, 3, 2, 5):
        seq = append(uid, seq, *(step(f"{seq}-{i}") for i in range(size)))
    assert [event["seq"] for event in log_of(uid)] == list(range(1, 13))
    assert head_of(uid)["last_seq"] == seq == 12


def test_events_keep_what_they_were_given() -> None:
    uid = start(data={"b": 1, "a": 1.0})["run_uid"]
    append(uid, 1, ("step.completed", "größe", {"result": "雪"}, {"kind": "run", "took": 1.50}), actor="ada")
    first, second = log_of(uid)
    assert (second["facts_text"], second["payload_text"]) == ('{"kind": "run", "took": 1.5}', '{"result": "雪"}')
    assert first["payload_text"] == '{"data": {"b": 1, "a": 1.0}}'  # to the letter: order and number as given
    assert (second["type"], second["step_id"], second["actor"]) == ("step.completed", "größe", "ada")
    assert second["position"] > first["position"]
    assert second["recorded_at"] >= first["recorded_at"]


def test_a_wrong_expected_seq_is_refused_and_says_where_the_log_is() -> None:
    run = start("order-1")
    append(run["run_uid"], 1, step("a"), step("b"))
    for wrong in (1, 4):
        refused = refusal_of(run["run_uid"], wrong, step("c"))
        assert refused.sqlstate == "23505"
        assert refused.message_primary == f"hookflow: run order-1 is at seq 3, expected {wrong}"
        assert refused.constraint_name == "django_hookflow_event_pk"
        assert refused.message_detail == "3"
    assert len(log_of(run["run_uid"])) == 3


def test_a_refused_append_draws_no_position_and_writes_nothing() -> None:
    uid = start()["run_uid"]
    last = "SELECT last_value FROM django_hookflow_event_position_seq"
    before = ask(last)
    refusal_of(uid, 7, step("a"))
    assert ask(last) == before
    assert types_of(uid) == ["run.triggered"]
    assert ask("SELECT FROM django_hookflow_stepexecution WHERE workflow_run_id = %s", uid) == []


def test_of_several_events_none_is_kept_when_one_cannot_be() -> None:
    uid = start()["run_uid"]
    for nameless in (None, ""):
        refused = refusal_of(uid, 1, step("a"), ("step.completed", nameless, {}))
        assert (refused.sqlstate, refused.constraint_name) == ("23514", "django_hookflow_event_of_a_step")
    assert types_of(uid) == ["run.triggered"]
    assert head_of(uid)["last_seq"] == 1


def test_an_unknown_run_and_an_archived_one_are_distinguished() -> None:
    nobody = uuid.uuid4()
    assert refusal_of(nobody, 1, step("a")).message_primary == f"hookflow: run {nobody} is unknown"
    uid = start("order-1")["run_uid"]
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now() WHERE run_uid = %s", uid)
    refused = refusal_of(uid, 1, step("a"))
    assert refused.message_primary == "hookflow: run order-1 is archived"
    assert (refused.sqlstate, refused.constraint_name) == ("23503", "django_hookflow_event_of_a_living_run")
    assert refusal_of(uid, None, step("a")).sqlstate == "23503"


def test_a_steps_outcome_is_taken_after_an_operators_event() -> None:
    uid = start()["run_uid"]
    turn = append(uid, 1, ("turn.started", None, None))
    append(uid, None, ("run.paused", None, {"reason": "look"}), actor="ada")
    assert append(uid, turn, step("a")) == turn + 2
    assert types_of(uid)[-2:] == ["run.paused", "step.completed"]


def test_a_turn_does_not_end_over_the_head_of_an_operator() -> None:
    uid = start()["run_uid"]
    turn = append(uid, 1, ("turn.started", None, None))
    append(uid, None, ("run.paused", None, {}), actor="ada")
    assert refusal_of(uid, turn, ("run.completed", None, {"result": 1}), ends_turn=True).sqlstate == "23505"
    assert append(uid, turn + 1, ("run.completed", None, {"result": 1}), ends_turn=True) == turn + 2


def test_a_turn_that_lost_the_run_is_refused_even_a_steps_outcome() -> None:
    uid = start()["run_uid"]
    first = append(uid, 1, ("turn.started", None, None))
    second = append(uid, first, ("turn.abandoned", None, None, {"turn_seq": first}), ("turn.started", None, None))
    assert refusal_of(uid, first, step("a")).sqlstate == "23505"
    assert refusal_of(uid, second - 1, step("a")).sqlstate == "23505"
    assert append(uid, second, step("a")) == second + 1


def test_operators_append_one_after_another_without_knowing_the_log() -> None:
    uid = start()["run_uid"]
    seqs = [append(uid, None, ("run.paused", None, {"n": n}), actor="ada") for n in range(3)]
    assert seqs == [2, 3, 4]


def test_the_next_turn_is_announced_once_a_run_and_gone_with_the_last() -> None:
    uid = start()["run_uid"]
    first = announced(uid)
    assert first is not None
    assert (first["seq"], first["turn_seq"], first["attempts"], first["due_at"]) == (1, None, 0, None)
    answer = appended(uid, 1, sleep("nap", 60), ends_turn=True)
    assert (answer["seq"], 59 < answer["next_in"] <= 60) == (2, True)
    (second,) = ask("SELECT * FROM django_hookflow_outbox WHERE run_uid = %s", uid)
    assert second["seq"] == 2
    assert second["due_at"].isoformat() == log_of(uid)[1]["facts"]["until"].replace("Z", "+00:00")
    assert second["send_at"] == second["due_at"]
    assert appended(uid, 2, ("run.completed", None, {"result": None}), ends_turn=True)["next_in"] is None
    assert ask("SELECT FROM django_hookflow_outbox WHERE run_uid = %s", uid) == []


def test_a_promise_to_publish_keeps_the_relay_off_for_the_grace() -> None:
    uid = uuid.uuid4()
    ask(
        "SELECT hookflow_start(%s, 'r', 'w', '{}', '{}', NULL, p_grace => interval '300 s', p_reach => interval '0')",
        uid,
    )
    first = announced(uid)
    assert first is not None
    assert (first["send_at"] - first["announced_at"]).total_seconds() == 300
    assert (first["due_at"], first["attempts"]) == (None, 1)


@pytest.mark.parametrize(("reach", "attempts", "grace"), [(60, 1, 300), (59, 0, 0)])
def test_whoever_promises_to_publish_does_so_only_within_its_reach(reach: int, attempts: int, grace: int) -> None:
    """What is due later than a transport can delay a message is the relay's when it is due."""
    uid = start()["run_uid"]
    ask(
        "SELECT hookflow_append(%s, 1, '{step.suspended}', '{nap}', %s::json[], '{NULL}', NULL, true, false, "
        "interval '300 s', make_interval(secs => %s))",
        *(uid, ['{"kind": "sleep", "seconds": 60}'], reach),
    )
    row = announced(uid)
    assert row is not None
    assert (row["attempts"], (row["send_at"] - row["due_at"]).total_seconds()) == (attempts, grace)


def test_time_in_a_run_never_goes_back() -> None:
    uid = start()["run_uid"]
    ask("UPDATE django_hookflow_head SET last_at = last_at + interval '1 hour' WHERE run_uid = %s", uid)
    future = head_of(uid)["last_at"]
    append(uid, 1, step("a"))
    assert log_of(uid)[1]["recorded_at"] == head_of(uid)["last_at"] == future


def test_moments_at_which_waits_are_due_are_the_databases() -> None:
    """Whoever appends gives seconds, or the moment itself; a wait without either has none."""
    uid = start()["run_uid"]
    append(uid, 1, ("step.suspended", "nap", None, {"seconds": 90, "kind": "sleep"}))
    append(uid, 2, ("step.suspended", "call", None, {"kind": "callback", "key": "k"}))
    append(uid, 3, ("step.suspended", "till", None, {"kind": "sleep", "until": "2070-01-01T00:00:00Z"}))
    facts = [event["facts"] for event in log_of(uid)][1:]
    (row,) = ask(
        "SELECT (%s::timestamptz - recorded_at) AS later FROM django_hookflow_event WHERE run_uid = %s AND seq = 2",
        *(facts[0]["until"], uid),
    )
    assert row["later"].total_seconds() == 90
    assert facts[0] | {"until": ""} == {"kind": "sleep", "seconds": 90, "until": ""}
    assert facts[0]["until"].endswith("Z")
    assert facts[1] == {"kind": "callback", "key": "k"}
    assert facts[2] == {"kind": "sleep", "until": "2070-01-01T00:00:00Z"}


def test_nothing_is_appended_by_an_append_of_nothing() -> None:
    uid = start()["run_uid"]
    assert refusal_of(uid, 1).sqlstate == "23502"
    assert types_of(uid) == ["run.triggered"]
