"""What people do to runs. Each appends an event with actor and reason, and is carried out by the database in one call.

Behind the methods of :class:`WorkflowRun` and :class:`DeadLetterEntry`, the admin and the commands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from django_hookflow import registry
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.events import codec, log
from django_hookflow.events.database import alias
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from django_hookflow.runtime.trigger import trigger

logger = logging.getLogger("django_hookflow.operating")


@dataclass(frozen=True)
class Replayed:
    """What replaying one entry came to: the run that goes on, or why none does."""

    entry: DeadLetterEntry
    run_id: str | None
    error: HookFlowException | None = None


def operate(
    run: WorkflowRun,
    action: str,
    *,
    actor: str | None,
    reason: str,
    step_id: str | None = None,
    details: dict[str, Any] | None = None,
) -> bool:
    """Does ``action`` to ``run``; False when that was done before. Raises OperationRefused when it makes no sense."""
    payload = json.dumps({"reason": reason, **(details or {})})
    with transaction.atomic(using=alias()):
        done = log.operate(run.run_uid, action, step_id=step_id, details=payload, actor=actor, grace=outbox.grace())
        if done.applied and done.seq is not None:
            attempt, delay = done.attempt or 1, done.delay or 0.0
            outbox.publish_after_commit(
                Message(run.workflow_id, run.run_id, done.seq, run.run_uid, max(1, attempt), delay), using=alias()
            )
        if done.applied and action == "cancel":
            outbox.withdraw_after_commit(run.run_uid, using=alias())
    run.refresh_from_db()
    return done.applied


def rewind(run: WorkflowRun, to_step: str, *, actor: str | None, reason: str) -> bool:
    """Has ``to_step`` and the steps recorded after it run again; an open dead letter of the run is thereby replayed."""
    return operate(run, "rewind", actor=actor, reason=reason, step_id=to_step)


def resolve(run: WorkflowRun, step_id: str, result: Any, *, actor: str | None, reason: str) -> bool:
    """Records ``result`` as what a doubtful step came to, and has the run go on."""
    encoded = json.loads(codec.encode(result, path="result", limit=conf.max_payload_size))
    doubt = (
        WorkflowEvent.objects.filter(workflow_run=run, type="step.doubted", step_id=step_id).order_by("-seq").first()
    )
    told = (doubt.payload if doubt else None) or {}
    outcome = {"kind": told.get("kind", "run"), "attempt": told.get("attempt", 1), "result": encoded, "resolved": True}
    return operate(run, "resolve", actor=actor, reason=reason, step_id=step_id, details={"outcome": outcome})


def replay(entry: DeadLetterEntry, *, from_start: bool, actor: str | None, reason: str) -> str:
    """Has a failed run go on at the step it failed in, or a new run do all of it; the id of the run that does.

    However often it is asked for, it happens once; the log keeps every request.
    """
    run = WorkflowRun.objects.get(run_uid=entry.run_uid)
    if not from_start:
        operate(run, "replay", actor=actor, reason=reason, step_id=entry.step_id, details={"failed_seq": entry.seq})
        entry.refresh_from_db()
        return run.run_id
    workflow = registry.get_workflow(entry.workflow_id)
    data = codec.untag(run.data)
    new_id = f"replay-{entry.id}-of-{run.run_uid}"
    details = {"failed_seq": entry.seq, "run_id": new_id}
    with transaction.atomic(using=alias()):
        if operate(run, "restart", actor=actor, reason=reason, details=details):
            trigger(workflow.workflow_id, data, new_id, actor=actor, timeout=workflow.timeout)
    entry.refresh_from_db()
    return new_id


def replay_all(entries: Iterable[DeadLetterEntry], *, actor: str | None, reason: str) -> list[Replayed]:
    """Replays each entry on its own: one that cannot be replayed does not keep the others from it."""
    results = []
    for entry in entries:
        try:
            results.append(Replayed(entry, replay(entry, from_start=False, actor=actor, reason=reason)))
        except HookFlowException as error:
            logger.warning("hookflow: dead letter %s was not replayed: %s", entry.pk, error)
            results.append(Replayed(entry, None, error))
    return results
