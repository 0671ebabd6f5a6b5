"""What is done about a message: by what it announces, whoever brings it (the webhook, or a relay)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django_hookflow import registry
from django_hookflow.clock import clock
from django_hookflow.conf import is_stateless
from django_hookflow.delivery import carrying, outbox
from django_hookflow.delivery.messages import CARRIED, DEADLINE, ENDED, HISTORY, TURN, BadMessage
from django_hookflow.events import log
from django_hookflow.events.database import alias
from django_hookflow.exceptions import TurnLost
from django_hookflow.models import Head
from django_hookflow.runtime.joining import hand_on
from django_hookflow.runtime.stateless import MessageJournal
from django_hookflow.runtime.turn import Turn, TurnResult, end_overdue, run_claimed, run_turn


def receive(
    kind: str,
    workflow_id: str,
    run_id: str,
    seq: int,
    *,
    content: dict[str, Any] | None = None,
    delivery: dict[str, Any] | None = None,
    is_retry: bool = False,
    claim: log.Claim | None = None,
) -> TurnResult:
    """Does what a message of this kind asks for. Raises UnknownWorkflow; a kind nobody knows is ``stale``.

    ``content`` is the body it came in, for the kinds that carry something. Raises BadMessage if that is not there.
    ``claim``: the message announces a turn, and whoever took it has begun that.
    """
    if claim is not None:
        return run_claimed(workflow_id, run_id, claim)
    if kind == CARRIED and not is_stateless():
        return take_over(workflow_id, run_id, carrying.read_predecessors(content or {}), delivery=delivery)
    if kind in CARRIES:
        return _take_carried_turn(workflow_id, run_id, CARRIES[kind](content or {}))
    handler = HANDLERS.get(kind)
    if handler is None:  # of a later release, whose outbox has the matter in hand
        return TurnResult("stale")
    return handler(workflow_id, run_id, seq, delivery, is_retry)


def _take_turn(workflow_id: str, run_id: str, seq: int, delivery: dict[str, Any] | None, is_retry: bool) -> TurnResult:
    return run_turn(workflow_id, run_id, seq, delivery=delivery, is_retry=is_retry)


def _meet_deadline(
    workflow_id: str, run_id: str, seq: int, delivery: dict[str, Any] | None, is_retry: bool
) -> TurnResult:
    result = end_overdue(workflow_id, run_id)
    if result.answer == "failed":
        _hand_on(workflow_id, run_id, seq, delivery, is_retry)
    return result


def _take_carried_turn(workflow_id: str, run_id: str, carried: carrying.Carried) -> TurnResult:
    """Runs the turn, or has its message published once more if that came before its time."""
    workflow = registry.get_workflow(workflow_id)
    try:
        journal = MessageJournal(workflow_id, run_id, carried.events)
        turn = Turn(journal, workflow)
    except (LookupError, TypeError, ValueError) as error:
        raise BadMessage(f"its history cannot be read ({type(error).__name__})") from error
    wait = carried.due_at - clock.time()
    if wait <= 0:
        return _with_dead_letter(turn.run(), run_id)
    try:  # the wait is longer than QStash holds a message back, or its clock is ahead
        journal.publish([carrying.as_text(event) for event in carried.events], wait, carried.attempt + 1)
    except TurnLost:
        return TurnResult("early", journal.release(0))
    return TurnResult("early")


def _with_dead_letter(result: TurnResult, run_id: str) -> TurnResult:
    """Where there is no table of dead letters, QStash keeps them: a message that is delivered again has its run go on."""
    if result.answer not in ("failed", "diverged"):
        return result
    why = f"run {run_id!r} has {result.answer}: retry this message in QStash's dead letter queue to continue the run"
    return replace(result, dead=why)


def take_over(
    workflow_id: str, run_id: str, carried: carrying.Predecessors, *, delivery: dict[str, Any] | None = None
) -> TurnResult:
    """Runs the turn that a message of 0.0.x stands for; ``stale`` when its run has gone on, ended, or never been held for it.

    Steps it carries are recorded and not run again. Raises UnknownWorkflow before anything is touched.
    """
    registry.get_workflow(workflow_id)
    seq = log.take_over(workflow_id, run_id, carried.data, carried.steps, outbox.sending())
    if seq is None:
        return TurnResult("stale")
    return run_turn(workflow_id, run_id, seq, delivery=delivery)


def _hand_on(workflow_id: str, run_id: str, seq: int, delivery: dict[str, Any] | None, is_retry: bool) -> TurnResult:
    head = Head.objects.using(alias()).filter(run_id=run_id, workflow_id=workflow_id).first()
    if head is None:
        return TurnResult("unknown")
    hand_on(head.run_uid)
    return TurnResult("finished")


Handler = Callable[[str, str, int, dict[str, Any] | None, bool], TurnResult]

HANDLERS: dict[str, Handler] = {TURN: _take_turn, DEADLINE: _meet_deadline, ENDED: _hand_on}

#: Kinds of message that bring the history of their run along, and what reads it.
CARRIES: dict[str, Callable[[dict[str, Any]], carrying.Carried]] = {
    HISTORY: carrying.read,
    CARRIED: lambda content: carrying.read_predecessors(content).as_history(),
}
