"""What a story needs of a run's events is all that is fetched of them, however much they hold."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.events.types import CATALOGUE
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.sql import load
from django_hookflow.timeline import Present, events_of, present_of, story_of
from django_hookflow.timeline.reading import FAILED, REASONED
from tests.log.calls import append, ask, claim, failure, sleep, start, step
from tests.timeline import shop

if TYPE_CHECKING:
    from uuid import UUID

    from tests.timeline.frozen import Stage

pytestmark = pytest.mark.django_db

LONG = os.urandom(60_000).hex()
EVEN_LONG = "x" * 120_000


def story_as_dict(uid: UUID, until: int | None = None) -> dict[str, Any]:
    return dataclasses.asdict(story_of(events_of(uid, until)))


def test_long_results_stay_where_they_are() -> None:
    uid = start("order-1", {"document": LONG})["run_uid"]
    append(uid, 1, ("turn.started", None, None, {"worker": "w"}), step("a", LONG), step("b", EVEN_LONG))
    append(uid, None, ("run.completed", None, {"result": LONG}))
    events = list(events_of(uid))
    assert [event.payload for event in events] == [None] * 5
    assert [(row.step_id, row.kind, row.attempts) for row in story_of(events).rows] == [
        ("a", "run", 1),
        ("b", "run", 1),
    ]


def test_long_errors_are_cut_and_so_are_reasons() -> None:
    uid = start("order-1")["run_uid"]
    error = {"message": "m" * 9_000, "traceback": f"Traceback {LONG} the end", "args": [LONG]}
    facts = {"kind": "call", "attempt": 2, "took": 3.5, "error": "shop.Declined", "retry_in": 12.5}
    append(uid, 1, ("step.failed", "a", error, facts), ("step.failed", "a", {"message": LONG}, facts))
    append(uid, None, ("run.paused", None, {"reason": "r" * 5000}), ("odd", None, [LONG], {"x": 1}))
    events = list(events_of(uid))
    assert [events[1].facts[name] for name in ("kind", "attempt", "retry_in")] == ["call", 2, 12.5]
    assert events[1].payload == {"message": "m" * 2_000, "traceback": error["traceback"][-8_000:]}
    assert events[2].payload == {"message": LONG[:2000]}
    assert events[3].payload == {"reason": "r" * 2000}
    assert (events[4].payload, events[4].facts) == (None, {"x": 1})


def test_a_payload_that_is_no_object_is_none() -> None:
    uid = start("order-1")["run_uid"]
    append(uid, 1, ("step.failed", "a", [1], {}), ("run.paused", None, "no"), ("step.failed", "a", None, {}))
    assert [event.payload for event in events_of(uid)] == [None] * 4


def test_the_story_is_that_of_whole_events() -> None:
    uid = start("order-1", timeout=900)["run_uid"]
    append(uid, None, ("turn.started", None, None, {"worker": "w"}), step("a"), sleep("nap", 60))
    append(uid, None, ("run.paused", None, {"reason": "look"}), ("run.resumed", None, {}), actor="ada")
    append(uid, None, step("nap"), ("turn.started", None, None), failure("b", "no"), ends_turn=True)
    append(uid, None, ("run.replayed", None, {"reason": "again"}, {"failed_seq": 9}), actor="ada")
    whole = WorkflowEvent.objects.filter(workflow_run_id=uid).order_by("seq")
    assert story_as_dict(uid) == dataclasses.asdict(story_of(whole))
    assert story_as_dict(uid, 7) == dataclasses.asdict(story_of(whole[:7]))


def test_what_a_story_shows_of_payloads_is_what_the_catalogue_names() -> None:
    assert {name for name, each in CATALOGUE.items() if {"message", "traceback"} & {*each.payload}} == {*FAILED}
    assert {name for name, each in CATALOGUE.items() if "reason" in each.payload} == {*REASONED}


@pytest.mark.parametrize("message", ["short", LONG[:1500]])
def test_what_was_retained_of_a_redacted_event_is_shown_also_of_the_past(stage: Stage, message: str) -> None:
    shop.troubles.append(ValueError(message))
    run = stage.trigger(shop.order, "order-1")
    stage.drive("order-1")
    run.redact(["message"], reason="a name was in it", actor="ada")
    for until in (None, 5):
        row = story_of(events_of(run.pk, until)).row("charge")
        assert row is not None
        assert row.error is not None
        assert (row.error["type"], row.error["message"], row.kind) == ("ValueError", "[redacted]", "run")
        assert row.error["traceback"]
    assert [event.is_redacted for event in events_of(run.pk, 5)] == [False, False, False, True, True]
    run.redact(reason="all of it", actor="ada")
    story = story_of(events_of(run.pk))
    assert [(row.step_id, row.kind, row.state, row.attempts) for row in story.rows] == [
        ("validate", "run", "completed", 1),
        ("charge", "run", "failed", 1),
    ]
    assert [row.worked(present_of(run.pk).now) for row in story.rows] == [0.4, 2]
    assert story.rows[1].error == {"type": "ValueError", "message": "", "traceback": ""}


def test_thousands_of_redacted_events_are_read_in_one_query(stage: Stage, django_assert_num_queries: Any) -> None:
    uid = start("order-1")["run_uid"]
    failed = ("step.failed", "a", {"message": "x"}, {"kind": "run", "attempt": 1, "took": 1})
    append(uid, 1, ("turn.started", None, None), *[failed] * 300)
    append(uid, None, ("run.completed", None, {"result": None}))
    WorkflowRun.objects.get(pk=uid).redact("message", reason="asked to", actor="ada")
    with django_assert_num_queries(1):
        events = list(events_of(uid))
    redacted = [event for event in events if event.is_redacted]
    assert [event.payload["message"] for event in redacted] == ["[redacted]"] * 300
    statement = load("timeline_events").replace("%(run_uid)s", "%s").replace("%(until)s", "NULL")
    plan = ask(
        f"EXPLAIN {statement.replace('%(reasoned)s', '%s').replace('%(failed)s', '%s')}", REASONED, FAILED, FAILED, uid
    )
    assert not any("Seq Scan on django_hookflow_event" in str(row) for row in plan)


def test_the_present_is_what_the_outbox_and_the_lease_hold(stage: Stage) -> None:
    run = stage.trigger(shop.order, "order-1")
    now = present_of(run.pk)
    assert (now.kind, now.seq, now.sent, now.turn_seq, now.is_leased) == ("turn", 1, 0, None, False)
    assert (now.due_at, now.announced_at) == (None, now.now)
    assert now.is_between_turns(1)
    assert not now.is_between_turns(0)
    claim("order-1", 1, workflow_id=run.workflow_id)
    now = present_of(run.pk)
    assert (now.turn_seq, now.owner, now.token, now.is_leased, now.is_between_turns(2)) == (2, "worker", 2, True, False)
    run.cancel()
    assert present_of(run.pk) == Present(
        now=now.now, owner="worker", token=2, renewed_at=now.renewed_at, expires_at=now.expires_at
    )


def test_a_lease_of_before_the_clock_went_back_is_none(stage: Stage) -> None:
    run = stage.trigger(shop.order, "order-1")
    claim("order-1", 1, workflow_id=run.workflow_id)
    stage.pass_time(-3600)
    assert not present_of(run.pk).is_leased
