"""What is done about a message: by what it announces, whoever brings it (the webhook, or a relay)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_hookflow.delivery.messages import DEADLINE, TURN
from django_hookflow.runtime.turn import TurnResult, end_overdue, run_turn


def receive(
    kind: str,
    workflow_id: str,
    run_id: str,
    seq: int,
    *,
    delivery: dict[str, Any] | None = None,
    is_retry: bool = False,
) -> TurnResult:
    """Does what a message of this kind asks for. Raises UnknownWorkflow; a kind nobody knows is ``stale``."""
    handler = HANDLERS.get(kind)
    if handler is None:  # of a later release, whose outbox has the matter in hand
        return TurnResult("stale")
    return handler(workflow_id, run_id, seq, delivery, is_retry)


def _take_turn(workflow_id: str, run_id: str, seq: int, delivery: dict[str, Any] | None, is_retry: bool) -> TurnResult:
    return run_turn(workflow_id, run_id, seq, delivery=delivery, is_retry=is_retry)


def _meet_deadline(
    workflow_id: str, run_id: str, seq: int, delivery: dict[str, Any] | None, is_retry: bool
) -> TurnResult:
    return end_overdue(workflow_id, run_id)


Handler = Callable[[str, str, int, dict[str, Any] | None, bool], TurnResult]

HANDLERS: dict[str, Handler] = {TURN: _take_turn, DEADLINE: _meet_deadline}
