"""Histories of runs: as hypothesis draws them, and a thousand mixed ones made quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from hypothesis import strategies as st

from django_hookflow.events.types import CATALOGUE, RUN_TRIGGERED, EventType
from tests.log.calls import Event, append, failure, sleep, start, step

if TYPE_CHECKING:
    from uuid import UUID

STEPS = ["validate", "charge", "größe", "ship it"]
#: Kinds of wait that a step may have, one of which nobody knows yet.
WAITS = ["sleep", "backoff", "doubt", "signal", "child", "of tomorrow"]
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
step_ids = st.sampled_from(STEPS)
seconds = st.floats(0, 10**6)
numbers = st.integers(1, 14)

#: What may stand under each key of facts and payloads. A key that is missing here is new in the catalogue.
KEYS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        ("worker", "transport", "version", "message_id", "run_id", "login", "recorded", "asked", "continued_by"), words
    ),
    **dict.fromkeys(
        ("attempt", "of", "retried", "attempts", "turn_seq", "failed_seq", "seq", "repaired", "by"), numbers
    ),
    **dict.fromkeys(("kind", "step_kind"), st.sampled_from(["run", "atomic", "call", "sleep", "signal"])),
    **dict.fromkeys(("key", "scope"), st.none() | words),
    **dict.fromkeys(("took", "seconds"), seconds),
    **dict.fromkeys(("message", "traceback", "reason", "error", "from", "name", "status", "updated_at"), words),
    **dict.fromkeys(("result", "payload", "value", "answer"), values),
    "retry_in": st.none() | seconds,
    "until": st.sampled_from(["2026-01-01T00:00:00.000000Z", "2030-12-31T23:59:59.999999Z"]),
    "unique": words,
    **dict.fromkeys(("done", "total"), numbers),
    "note": words,
    "fingerprint": st.text("0123456789abcdef", max_size=16),
    "resolved": st.just(True),
    **dict.fromkeys(("answered", "timed_out"), st.just(True)),
    "id": st.uuids().map(str),  # a run takes a signal's id once
    "path": st.none() | st.lists(words, max_size=3),
}


def objects(keys: tuple[str, ...], **always: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(always, optional={key: KEYS[key] for key in keys if key not in always})


def events_of(type_: EventType) -> st.SearchStrategy[Event]:
    """Events of a type with any of its keys: whole ones, and such as only a careless client would write."""
    steps = step_ids if type_.is_of_step else st.none() | step_ids
    kind = {"kind": st.sampled_from(WAITS)} if type_.waits_begun == "kind" else {}
    return st.tuples(st.just(type_.name), steps, st.none() | objects(type_.payload), objects(type_.facts, **kind))


#: Any event but the first, and one of a later release.
events: st.SearchStrategy[Event] = st.one_of(
    *(events_of(each) for each in CATALOGUE.values() if each.name != RUN_TRIGGERED),
    st.tuples(st.just("a.type.of.tomorrow"), st.none() | step_ids, st.none() | values, st.just({})),
)
#: What is appended to a run, call by call.
batches = st.lists(st.lists(events, min_size=1, max_size=4), max_size=6)

TURN: Event = ("turn.started", None, None, {"worker": "w"})
FAILURE = failure("charge", attempts=2)
FAILED_STEP: Event = ("step.failed", "charge", {"message": "no"}, {"kind": "run", "attempt": 1, "retry_in": 5})
BACKOFF: Event = ("step.suspended", "charge", None, {"kind": "backoff", "seconds": 5, "attempt": 1})
SUPERSEDED: Event = ("step.superseded", "validate", None)
MIXED: list[list[Event]] = [
    [],
    [TURN, step("validate", {"ok": True}), step("charge", 1.0), ("run.completed", None, {"result": {"a": [1, None]}})],
    [TURN, step("validate"), sleep("nap", 3600)],
    [TURN, step("validate"), FAILED_STEP, BACKOFF, FAILURE],
    [TURN, step("validate"), FAILURE, ("run.replayed", None, None, {"failed_seq": 4}), TURN, FAILURE],
    [TURN, step("validate"), SUPERSEDED, ("run.rewound", None, None), TURN, step("validate", 2)],
    [TURN, ("run.paused", None, {"reason": "look"}), ("run.resumed", None, None), ("run.cancelled", None, None)],
    [TURN, step("validate"), ("run.diverged", None, {"message": "renamed"}, {"error": "E"})],
]


def make_runs(number: int) -> list[UUID]:
    """So many runs named order-1, order-2, …, of every kind in turn, and in one commit."""
    with transaction.atomic():
        return [make_run(f"order-{n}", MIXED[n % len(MIXED)]) for n in range(1, number + 1)]


def make_run(run_id: str, history: list[Event]) -> UUID:
    uid: UUID = start(run_id, {"id": run_id}, timeout=86_400)["run_uid"]
    if history:
        append(uid, 1, *history, ends_turn=True)
    return uid
