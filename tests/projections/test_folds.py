"""One mapping, three sources: what is stored is what a fold of everything gives, and of every prefix was."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from django_hookflow.events.types import CATALOGUE, STATUS_WHILE
from django_hookflow.projections import diff
from django_hookflow.projections.ranges import PROJECTIONS, Projection
from tests.log.calls import Event, append, ask, sleep, start, step
from tests.projections.histories import batches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

pytestmark = pytest.mark.django_db


def stored(projection: Projection, run_uid: UUID) -> list[Any]:
    order = ", ".join(projection.key)
    return ask(f"SELECT * FROM {projection.model._meta.db_table} WHERE {projection.run} = %s ORDER BY {order}", run_uid)


def folded(projection: Projection, run_uid: UUID) -> list[Any]:
    return ask(f"SELECT * FROM {projection.fold}(%s, %s) ORDER BY {', '.join(projection.key)}", run_uid, run_uid)


def folded_as_of(projection: Projection, run_uid: UUID, seq: int) -> list[Any]:
    return ask(f"SELECT * FROM {projection.fold}_as_of(%s, %s) ORDER BY {', '.join(projection.key)}", run_uid, seq)


def steps(run_uid: UUID) -> list[Any]:
    return ask("SELECT * FROM django_hookflow_stepexecution WHERE workflow_run_id = %s ORDER BY seq", run_uid)


def steps_as_of(run_uid: UUID, seq: int) -> list[Any]:
    return ask("SELECT * FROM hookflow_fold_steps_as_of(%s, %s) ORDER BY seq", run_uid, seq)


@contextmanager
def each_example() -> Iterator[None]:
    """Hypothesis runs all its examples inside one test's transaction; each begins with an empty log."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@settings(max_examples=100, deadline=None)
@given(data=st.none() | st.integers(), timeout=st.none() | st.floats(0, 10**6), appends=batches)
def test_stored_rows_equal_the_fold_of_all_events_and_of_every_prefix(
    data: Any, timeout: float | None, appends: list[list[Event]]
) -> None:
    uid = start(data=data, timeout=timeout)["run_uid"]
    seq = 1
    then = {seq: [stored(projection, uid) for projection in PROJECTIONS]}
    steps_then = {seq: steps(uid)}
    for events in appends:
        seq = append(uid, None, *events)
        then[seq] = [stored(projection, uid) for projection in PROJECTIONS]
        steps_then[seq] = steps(uid)
    assert [folded(projection, uid) for projection in PROJECTIONS] == then[seq]
    for length, rows in then.items():
        assert [folded_as_of(projection, uid, length) for projection in PROJECTIONS] == rows
        assert steps_as_of(uid, length) == steps_then[length]


@settings(max_examples=50, deadline=None)
@given(appends=batches)
def test_the_status_is_that_of_the_last_event_that_has_one(appends: list[list[Event]]) -> None:
    """Said by the catalogue, in Python; and a run that has ended waits for nothing."""
    uid = start(timeout=60)["run_uid"]
    status, has_ended = "pending", False
    for events in appends:
        append(uid, None, *events)
        for type_, _, _, facts in (event if len(event) > 3 else (*event, {}) for event in events):
            known = CATALOGUE.get(type_)
            waits_so = STATUS_WHILE.get(facts.get("kind", "")) if known and known.waits_begun == "kind" else None
            after = waits_so or (known.status if known else None)
            if after:
                status, has_ended = after, bool(known and known.ends_run)
    (run,) = stored(PROJECTIONS[0], uid)
    assert (run["status"], run["completed_at"] is not None) == (status, has_ended)
    assert not (has_ended and stored(PROJECTIONS[1], uid))


@settings(max_examples=30, deadline=None)
@given(histories=st.lists(batches, min_size=2, max_size=4))
def test_runs_folded_together_keep_their_events_apart(histories: list[list[list[Event]]]) -> None:
    with each_example():
        uids = [start()["run_uid"] for _ in histories]
        for uid, appends in zip(uids, histories, strict=True):
            for events in appends:
                append(uid, None, *events)
        assert list(diff()) == []


def test_an_event_with_neither_facts_nor_payload_is_folded_as_it_was_projected() -> None:
    uid = start()["run_uid"]
    bare = [type_ for type_ in CATALOGUE if type_ not in ("run.triggered", "step.suspended")]
    append(uid, 1, *((type_, "a", None) for type_ in bare))
    assert [folded(projection, uid) for projection in PROJECTIONS] == [stored(p, uid) for p in PROJECTIONS]
    assert len(stored(PROJECTIONS[2], uid)) == 1
    assert steps_as_of(uid, len(bare) + 1) == steps(uid)


def work_of(plan: dict[str, Any]) -> int:
    """How many rows a plan has handled, those included that it looked at and left out."""
    left_out = sum(int(value) for name, value in plan.items() if name.startswith("Rows Removed by"))
    own = int((plan["Actual Rows"] + left_out) * plan["Actual Loops"])
    return own + sum(work_of(child) for child in plan.get("Plans", ()))


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
def test_a_long_run_is_folded_in_time_linear_in_its_length(projection: Projection) -> None:
    uid = start(timeout=3600)["run_uid"]
    naps = [event for n in range(1000) for event in (sleep(f"nap-{n}", 1), step(f"nap-{n}"))]
    append(uid, 1, *naps, *(step(f"step-{n}") for n in range(2000)), sleep("last", 1))
    ask("ANALYZE django_hookflow_event")
    (row,) = ask(f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {projection.fold}(%s, %s)", uid, uid)
    plan = row["QUERY PLAN"] if isinstance(row["QUERY PLAN"], list) else json.loads(row["QUERY PLAN"])
    assert 4000 < work_of(plan[0]["Plan"]) < 20 * 4002
