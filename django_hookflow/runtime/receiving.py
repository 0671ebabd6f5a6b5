"""What is done about a message: by what it announces, whoever brings it (the webhook, or a relay)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_hookflow import registry
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import DEADLINE, TURN, Carried
from django_hookflow.events import log
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


def take_over(workflow_id: str, run_id: str, carried: Carried, *, delivery: dict[str, Any] | None = None) -> TurnResult:
    """Runs the turn that a message of 0.0.x stands for; ``stale`` when its run has gone on, ended, or never been held for it.

    Steps it carries are recorded and not run again. Raises UnknownWorkflow before anything is touched.
    """
    registry.get_workflow(workflow_id)
    seq = log.take_over(workflow_id, run_id, carried.data, carried.steps, outbox.sending())
    if seq is None:
        return TurnResult("stale")
    return run_turn(workflow_id, run_id, seq, delivery=delivery)


Handler = Callable[[str, str, int, dict[str, Any] | None, bool], TurnResult]

HANDLERS: dict[str, Handler] = {TURN: _take_turn, DEADLINE: _meet_deadline}
