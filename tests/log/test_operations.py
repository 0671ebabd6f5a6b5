"""What may be done to a run: decided once, and the function that does it does exactly that, in every state."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from django_hookflow.events.log import Permitted, may
from django_hookflow.models import WorkflowRun
from django_hookflow.projections import diff
from tests.log.calls import append, ask, head_of, log_of, operate, start, types_of
from tests.log.states import STATES

pytestmark = pytest.mark.django_db

#: Actions of hookflow_operate; the others have functions of their own.
OPERATED = ("cancel", "pause", "resume", "wake", "rewind", "resolve", "replay", "restart")
EVENT_OF = {
    "cancel": "run.cancelled",
    "pause": "run.paused",
    "resume": "run.resumed",
    "wake": "run.woken",
    "rewind": "run.rewound",
    "resolve": "step.resolved",
    "replay": "run.replayed",
    "restart": "run.restarted",
}


def run_in(state: str) -> WorkflowRun:
    uid = start("order-1", {}, timeout=86_400)["run_uid"]
    if STATES[state][0]:
        append(uid, 1, *STATES[state][0], ends_turn=True)
    return WorkflowRun.objects.get(id=uid)


@pytest.mark.parametrize("state", STATES)
def test_every_action_has_a_verdict(state: str) -> None:
    run = run_in(state)
    _, status, verdicts = STATES[state]
    if state != "with all its steps taken back":
        assert run.status == status
    permitted = may(run.id)
    assert permitted.keys() == {*OPERATED, "redact", "rebuild", "signal"}
    expected = {action: verdicts.get(action, "refused") for action in permitted} | {"rebuild": "possible"}
    expected["signal"] = verdicts.get("cancel", "refused").replace("done", "refused")
    assert {action: each.verdict for action, each in permitted.items()} == expected
    for each in permitted.values():
        assert (each.reason is None) == (each.verdict == "possible")


@pytest.mark.parametrize("action", OPERATED)
@pytest.mark.parametrize("state", STATES)
def test_the_function_does_what_is_possible_and_nothing_else(state: str, action: str) -> None:
    run = run_in(state)
    permitted = may(run.id)[action]
    before = log_of(run.id)
    facts = {"failed_seq": head_of(run.id)["last_seq"]} if action in ("replay", "restart") else {}
    step_id = {"resolve": "charge", "rewind": before[-1]["step_id"] or "a"}.get(action)
    if action == "rewind" and permitted.verdict == "possible":
        (first,) = ask("SELECT hookflow_first_step(%s) AS step_id", run.id)
        step_id = first["step_id"]
    payload = {"reason": "why", "outcome": {"result": 1}} if action == "resolve" else {"reason": "why"}
    if permitted.verdict == "refused":
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            operate(run.id, action, step_id=step_id, facts=facts, payload=payload)
        assert str(caught.value).startswith(f"hookflow: cannot {action} run order-1: {permitted.reason}\n")
        assert log_of(run.id) == before
        return
    operated = operate(run.id, action, step_id=step_id, facts=facts, payload=payload)
    assert operated["applied"] == (permitted.verdict == "possible")
    if permitted.verdict == "done":
        assert log_of(run.id) == before
    else:
        event = log_of(run.id)[len(before)]
        assert (event["type"], event["actor"], event["payload"]) == (EVENT_OF[action], "ada", {"reason": "why"})
    assert list(diff()) == []


def test_reasons_are_sentences() -> None:
    assert may(run_in("in doubt").id)["pause"] == Permitted("pause", "refused", "it is in doubt")
    assert may(WorkflowRun.objects.get().id)["wake"].reason == "it is in doubt"


def test_an_archived_run_permits_nothing() -> None:
    run = run_in("failed")
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now()")
    assert {(each.verdict, each.reason) for each in may(run.id).values()} == {("refused", "it is archived")}


def test_of_a_run_that_does_not_exist_there_is_no_verdict() -> None:
    assert may(start("order-1")["run_uid"]) != {}
    (unknown,) = ask("SELECT gen_random_uuid() AS uid")
    assert may(unknown["uid"]) == {}


@pytest.mark.parametrize("action", OPERATED)
def test_an_unknown_run_and_an_archived_one_are_refused_as_such(action: str) -> None:
    (unknown,) = ask("SELECT gen_random_uuid() AS uid")
    with pytest.raises(IntegrityError, match="is unknown"), transaction.atomic():
        operate(unknown["uid"], action)
    run = run_in("failed")
    ask("UPDATE django_hookflow_head SET archived_at = hookflow_now()")
    with pytest.raises(IntegrityError, match="run order-1 is archived"), transaction.atomic():
        operate(run.id, action, facts={"failed_seq": 3})


def test_a_replay_asked_for_twice_is_kept_and_changes_nothing() -> None:
    run = run_in("failed in a step")
    assert operate(run.id, "replay", step_id="b", facts={"failed_seq": 4})["applied"]
    before = WorkflowRun.objects.values().get()
    assert not operate(run.id, "replay", step_id="b", facts={"failed_seq": 4}, actor="bob")["applied"]
    assert types_of(run.id)[-1] == "run.replay_repeated"
    assert WorkflowRun.objects.values().get() == before
    assert list(diff()) == []


def test_an_action_that_nobody_knows_is_refused() -> None:
    run = run_in("failed")
    with pytest.raises(IntegrityError), transaction.atomic():
        operate(run.id, "explode")
    assert types_of(run.id)[-1] == "run.failed"
