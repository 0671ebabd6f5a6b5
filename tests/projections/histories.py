"""Histories of runs: as hypothesis draws them, and a thousand mixed ones made quickly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from hypothesis import strategies as st

from tests.log.calls import append, start, step

if TYPE_CHECKING:
    from uuid import UUID

Event = tuple[str, "str | None", Any]

STEPS = ["validate", "charge", "größe", "ship it"]
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
errors = st.fixed_dictionaries({"type": words, "message": words}, optional={"traceback": words})
step_ids = st.sampled_from(STEPS)
seconds = st.floats(0, 10**6)
kinds = st.sampled_from(["run", "atomic", "call", "sleep"])
reasons = st.fixed_dictionaries({}, optional={"reason": words})


def of_run(type_: str, payload: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.tuples(st.just(type_), st.none(), payload)


def of_step(type_: str, payload: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    return st.tuples(st.just(type_), step_ids, payload)


completed = st.fixed_dictionaries({"kind": kinds, "result": values}, optional={"attempt": st.integers(1, 9)})
failed_step = st.fixed_dictionaries(
    {"kind": kinds, "attempt": st.integers(1, 9), "error": errors, "retry_in": st.none() | seconds}
)
failed_run = st.fixed_dictionaries({"error": errors}, optional={"attempts": st.integers(1, 9)})

events: st.SearchStrategy[Event] = st.one_of(
    of_run("turn.started", st.just({"worker": "w"})),
    of_run("turn.failed", st.fixed_dictionaries({"retry_in": st.none() | seconds})),
    of_run("turn.abandoned", st.fixed_dictionaries({"turn_seq": st.integers(2, 9)})),
    of_step("step.completed", completed),
    of_step("step.failed", failed_step),
    of_step("step.superseded", st.just({})),
    of_step("step.doubted", reasons),
    of_step("step.resolved", reasons),
    of_step("sleep.started", st.fixed_dictionaries({"seconds": seconds})),
    of_run("run.completed", st.fixed_dictionaries({"result": values})),
    of_run("run.failed", failed_run),
    of_step("run.failed", failed_run),
    of_run("run.diverged", st.fixed_dictionaries({"error": errors})),
    of_run("run.replayed", st.fixed_dictionaries({"failed_seq": st.integers(2, 14)})),
    of_run("run.rewound", reasons),
    of_run("run.cancelled", reasons),
    of_run("run.paused", reasons),
    of_run("run.resumed", reasons | st.fixed_dictionaries({"seconds": st.none() | seconds})),
    of_run("run.woken", st.fixed_dictionaries({"seconds": seconds})),
    of_run("run.restarted", st.fixed_dictionaries({"failed_seq": st.integers(2, 14)})),
    of_run("a.type.of.tomorrow", st.none() | values),
)
#: What is appended to a run, call by call.
batches = st.lists(st.lists(events, min_size=1, max_size=4), max_size=6)

REPLAYS = ("run.replayed", "run.restarted")


def as_they_could_happen(history: list[Event], length: int) -> list[Event]:
    """``history`` as it can follow a log of that length: what is replayed has failed before."""
    return [
        (type_, step_id, {"failed_seq": min(payload["failed_seq"], seq - 1)} if type_ in REPLAYS else payload)
        for seq, (type_, step_id, payload) in enumerate(history, start=length + 1)
    ]


TURN: Event = ("turn.started", None, {"worker": "w"})
FAILURE: Event = ("run.failed", "charge", {"error": {"type": "E", "message": "no", "traceback": "T"}, "attempts": 2})
MIXED: list[list[Event]] = [
    [],
    [TURN, step("validate", {"ok": True}), step("charge", 1.0), ("run.completed", None, {"result": {"a": [1, None]}})],
    [TURN, step("validate"), ("sleep.started", "nap", {"seconds": 3600})],
    [TURN, step("validate"), ("step.failed", "charge", {"kind": "run", "attempt": 1, "retry_in": 5}), FAILURE],
    [TURN, step("validate"), FAILURE, ("run.replayed", None, {"failed_seq": 4}), TURN, FAILURE],
    [TURN, step("validate"), ("step.superseded", "validate", {}), ("run.rewound", None, {}), TURN, step("validate", 2)],
    [TURN, ("run.paused", None, {"reason": "look"}), ("run.resumed", None, {}), ("run.cancelled", None, {})],
    [TURN, step("validate"), ("run.diverged", None, {"error": {"type": "E", "message": "renamed"}})],
]


def make_runs(number: int) -> list[UUID]:
    """So many runs named order-1, order-2, …, of every kind in turn, and in one commit."""
    with transaction.atomic():
        return [make_run(f"order-{n}", MIXED[n % len(MIXED)]) for n in range(1, number + 1)]


def make_run(run_id: str, history: list[Event]) -> UUID:
    uid: UUID = start(run_id, {"id": run_id})["run_uid"]
    if history:
        append(uid, 1, *history, ends_turn=True)
    return uid
