"""What a story needs of a run's events is all that is fetched of them, however much they hold."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings

from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.timeline import Present, events_of, present_of, tell
from tests.log.calls import append, ask, claim, start, step
from tests.projections.histories import Event, as_they_could_happen, batches
from tests.timeline import shop

if TYPE_CHECKING:
    from uuid import UUID

    from tests.timeline.frozen import Stage

pytestmark = pytest.mark.django_db

LONG = os.urandom(60_000).hex()
EVEN_LONG = "x" * 120_000


def error(traceback: str) -> dict[str, Any]:
    return {"type": "shop.Declined", "message": "m" * 9_000, "traceback": traceback}


def story_of(uid: UUID, until: int | None = None) -> dict[str, Any]:
    return dataclasses.asdict(tell(events_of(uid, until)))


def size_of(payload: Any) -> int:
    return len(str(payload))


def test_long_results_stay_where_they_are() -> None:
    uid = start("order-1", {"document": LONG})["run_uid"]
    append(uid, 1, ("turn.started", None, {"worker": "w"}), step("a", LONG), step("b", EVEN_LONG), step("c", "short"))
    append(uid, None, ("run.completed", None, {"result": LONG}))
    events = list(events_of(uid))
    assert [size_of(event.payload) < 200 for event in events] == [True] * 6
    assert [(row.step_id, row.kind, row.attempts) for row in tell(events).rows] == [
        *(("a", "run", 1), ("b", "run", 1), ("c", "run", 1))
    ]


def test_long_errors_are_cut_and_what_else_there_is_is_told() -> None:
    uid = start("order-1")["run_uid"]
    failed = {"kind": "call", "attempt": 2, "error": error(f"Traceback {LONG} the end"), "retry_in": 12.5}
    odd = {"kind": "call", "attempt": 3, "error": LONG, "retry_in": None}
    append(uid, 1, ("turn.started", None, {}), ("step.failed", "a", failed), ("turn.started", None, {"x": LONG}))
    append(uid, None, ("step.failed", "a", odd), ("run.paused", None, {"reason": "r" * 5000}), ("odd", None, [LONG]))
    events = list(events_of(uid))
    told = events[2].payload
    assert (told["kind"], told["attempt"], told["retry_in"]) == ("call", 2, 12.5)
    assert (len(told["error"]["message"]), len(told["error"]["traceback"])) == (2_000, 8_000)
    assert told["error"]["traceback"].endswith(" the end")
    assert events[4].payload["error"] is None
    assert events[5].payload["reason"] == "r" * 2000
    assert events[6].payload is None
    assert max(size_of(event.payload) for event in events) < 11_000


@settings(max_examples=60, deadline=None)
@given(appends=batches)
@example(appends=[[("a.type.of.tomorrow", None, "")]])
@example(appends=[[("a.type.of.tomorrow", None, "[1")]])
def test_the_story_is_the_one_that_whole_events_tell(appends: list[list[Event]]) -> None:
    uid = start(data={"x": [1]})["run_uid"]
    seq = 1
    for events in appends:
        seq = append(uid, None, *as_they_could_happen(events, seq))
    whole = WorkflowEvent.objects.filter(workflow_run_id=uid).order_by("seq")
    assert story_of(uid) == dataclasses.asdict(tell(whole))
    assert story_of(uid, seq // 2 + 1) == dataclasses.asdict(tell(whole[: seq // 2 + 1]))


@pytest.mark.parametrize("message", ["short", LONG[:3000]])
def test_what_was_retained_of_a_redacted_event_is_told_also_of_the_past(stage: Stage, message: str) -> None:
    shop.troubles.append(ValueError(message))
    run = stage.trigger(shop.order, "order-1")
    stage.drive("order-1")
    run.redact(["error", "message"], reason="a name was in it", actor="ada")
    for until in (None, 5):
        row = tell(events_of(run.pk, until)).row("charge")
        assert row is not None
        assert row.error is not None
        assert (row.error["type"], row.error["message"], row.kind) == ("ValueError", "[redacted]", "run")
    assert [event.is_redacted for event in events_of(run.pk, 5)] == [False, False, False, True, True]
    run.redact(reason="all of it", actor="ada")
    told = tell(events_of(run.pk))
    assert [(row.step_id, row.state, row.error) for row in told.rows] == [
        ("validate", "completed", None),
        ("charge", "failed", None),
    ]


def test_thousands_of_redacted_events_are_read_once(stage: Stage, django_assert_num_queries: Any) -> None:
    uid = start("order-1")["run_uid"]
    append(uid, 1, ("turn.started", None, {}), *(step(f"step-{n}", "x") for n in range(300)))
    append(uid, None, ("run.completed", None, {"result": None}))
    WorkflowRun.objects.get(pk=uid).redact("result", reason="asked to", actor="ada")
    with django_assert_num_queries(1):
        events = list(events_of(uid))
    redacted = [event for event in events if event.is_redacted]
    assert [event.payload["result"] for event in redacted] == ["[redacted]"] * 301
    plan = ask(f"EXPLAIN {statement()}", uid)
    assert not any("Seq Scan on django_hookflow_event" in str(row) for row in plan)


def statement() -> str:
    from django_hookflow.sql import load

    return load("timeline_events").replace("%(run_uid)s", "%s").replace("%(until)s", "NULL")


def test_the_present_is_what_the_outbox_and_the_lease_say(stage: Stage) -> None:
    run = stage.trigger(shop.order, "order-1")
    now = present_of(run.pk)
    assert (now.kind, now.seq, now.sent, now.turn_seq, now.is_leased) == ("turn", 1, 0, None, False)
    assert now.is_between_turns(1)
    assert not now.is_between_turns(0)
    claim("order-1", 1, workflow_id=run.workflow_id)
    now = present_of(run.pk)
    assert (now.turn_seq, now.owner, now.token, now.is_leased, now.is_between_turns(2)) == (2, "worker", 2, True, False)
    run.cancel()
    assert present_of(run.pk).kind is None
    run.refresh_from_db()
    assert present_of(WorkflowRun(run_uid=run.pk).pk) == Present(
        now=now.now, sent=None, owner="worker", token=2, expires_at=now.expires_at
    )
