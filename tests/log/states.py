"""Every state in which a run can stand, and what may be done to it there."""

from __future__ import annotations

from tests.log.calls import Event, failure, sleep, step

TURN: Event = ("turn.started", None, None)
DOUBT: Event = ("step.suspended", "charge", None, {"kind": "doubt", "step_kind": "run", "attempt": 1})
BACKOFF: Event = ("turn.failed", None, None, {"attempt": 1, "retry_in": 60})

#: A state: how a run comes into it, its status, and by action the verdict, where it is not 'refused'.
STATES: dict[str, tuple[list[Event], str, dict[str, str]]] = {
    "pending": ([], "pending", {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "done"}),
    "running": (
        [TURN, step("a")],
        "running",
        {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "done", "rewind": "possible"},
    ),
    "asleep": (
        [TURN, step("a"), sleep("nap", 60)],
        "running",
        {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "possible", "rewind": "possible"},
    ),
    "backing off between steps": (
        [TURN, BACKOFF],
        "running",
        {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "possible"},
    ),
    "waiting for something": (
        [TURN, ("step.suspended", "ask", None, {"kind": "callback"})],
        "running",
        {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "done", "rewind": "possible"},
    ),
    "paused": (
        [TURN, ("run.paused", None, None)],
        "paused",
        {"cancel": "possible", "pause": "done", "resume": "possible"},
    ),
    "paused asleep": (
        [sleep("nap", 60), ("run.paused", None, None)],
        "paused",
        {"cancel": "possible", "pause": "done", "resume": "possible", "rewind": "possible"},
    ),
    "diverged": (
        [TURN, ("run.diverged", None, None, {"error": "E"})],
        "diverged",
        {"cancel": "possible", "resume": "possible"},
    ),
    "in doubt": ([TURN, DOUBT], "in_doubt", {"cancel": "possible", "rewind": "possible", "resolve": "possible"}),
    "completed": ([TURN, ("run.completed", None, {"result": 1})], "completed", {"redact": "possible"}),
    "completed with steps": (
        [TURN, step("a"), ("run.completed", None, {"result": 1})],
        "completed",
        {"redact": "possible", "rewind": "possible"},
    ),
    "failed": ([TURN, failure()], "failed", {"replay": "possible", "restart": "possible", "redact": "possible"}),
    "failed in a step": (
        [TURN, step("a"), failure("b")],
        "failed",
        {"replay": "possible", "restart": "possible", "redact": "possible", "rewind": "possible"},
    ),
    "cancelled": ([step("a"), ("run.cancelled", None, None)], "cancelled", {"cancel": "done", "redact": "possible"}),
    "with all its steps taken back": (
        [step("a"), ("step.superseded", "a", None)],
        "running",
        {"cancel": "possible", "pause": "possible", "resume": "done", "wake": "done"},
    ),
}
