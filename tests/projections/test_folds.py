"""One mapping, three sources: what is stored is what a fold of everything gives, and of every prefix was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from django_hookflow.projections import diff
from django_hookflow.projections.ranges import PROJECTIONS, Projection
from tests.log.calls import append, ask, start
from tests.projections.histories import Event, as_they_could_happen, batches

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


@contextmanager
def each_example() -> Iterator[None]:
    """Hypothesis runs all its examples inside one test's transaction; each begins with an empty log."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@settings(max_examples=150, deadline=None)
@given(data=st.none() | st.integers(), appends=batches)
def test_stored_rows_equal_the_fold_of_all_events_and_of_every_prefix(data: Any, appends: list[list[Event]]) -> None:
    uid = start(data=data)["run_uid"]
    seq = 1
    then = {seq: [stored(projection, uid) for projection in PROJECTIONS]}
    for events in appends:
        seq = append(uid, None, *as_they_could_happen(events, seq))
        then[seq] = [stored(projection, uid) for projection in PROJECTIONS]
    assert [folded(projection, uid) for projection in PROJECTIONS] == then[seq]
    for length, rows in then.items():
        assert [folded_as_of(projection, uid, length) for projection in PROJECTIONS] == rows


@settings(max_examples=30, deadline=None)
@given(histories=st.lists(batches, min_size=2, max_size=4))
def test_runs_folded_together_keep_their_events_apart(histories: list[list[list[Event]]]) -> None:
    with each_example():
        uids = [start()["run_uid"] for _ in histories]
        for uid, appends in zip(uids, histories, strict=True):
            seq = 1
            for events in appends:
                seq = append(uid, None, *as_they_could_happen(events, seq))
        assert list(diff()) == []


def test_an_event_without_payload_is_folded_as_it_was_projected() -> None:
    uid = start()["run_uid"]
    bare = ["step.completed", "step.failed", "sleep.started", "run.failed", "run.replayed", "run.completed"]
    append(uid, 1, *((type_, "a", None) for type_ in bare))
    assert [folded(projection, uid) for projection in PROJECTIONS] == [stored(p, uid) for p in PROJECTIONS]
    assert len(stored(PROJECTIONS[1], uid)) == 1
