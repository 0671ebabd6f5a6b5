"""What people do to runs. Each appends an event with actor and reason, and is carried out by the database in one call.

Behind the methods of :class:`WorkflowRun` and :class:`DeadLetterEntry`, the admin and the commands.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from django_hookflow import registry, sealing
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.events import codec, log, types
from django_hookflow.events.database import alias, owners_only, repeated_on_conflict
from django_hookflow.exceptions import (
    ArchivedRun,
    HookFlowException,
    OperationRefused,
    RedactedHistory,
    UnknownRun,
)
from django_hookflow.models import DeadLetterEntry, Head, WorkflowRun
from django_hookflow.projections import rebuilding
from django_hookflow.runtime import joining
from django_hookflow.runtime.trigger import trigger
from django_hookflow.texts import checked_actor, checked_reason, checked_step_id

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
    facts: dict[str, Any] | None = None,
    outcome: str | None = None,
) -> bool:
    """Does ``action`` to ``run``; False when that was done before. Raises OperationRefused when it makes no sense.

    ``facts`` are those of the event; ``outcome`` is the JSON text of what a doubtful step came to.
    """
    payload = json.dumps({"reason": checked_reason(reason)})
    if outcome is not None:
        payload = f'{payload[:-1]},"outcome":{{"result":{outcome}}}}}'
    try:
        applied = _operate(run, action, step_id, json.dumps(facts or {}), payload, checked_actor(actor))
    except UnknownRun as error:
        raise _archived(run.run_uid, action) or error from error
    _refresh(run)
    return applied


@repeated_on_conflict
def _operate(run: WorkflowRun, action: str, step_id: str | None, facts: str, payload: str, actor: str | None) -> bool:
    with transaction.atomic(using=alias()):
        done = log.operate(
            run.run_uid,
            action,
            step_id=step_id,
            facts=facts,
            payload=payload,
            actor=actor,
            sending=outbox.sending(),
        )
        outbox.publish_announced(run.workflow_id, run.run_id, run.run_uid, done, using=alias())
        if done.applied and action == "cancel":
            outbox.withdraw_after_commit(run.run_uid, using=alias())
        if done.applied and action in ("cancel", "replay", "rewind"):
            joining.hand_on_after_commit(run.run_uid)
    return done.applied


@repeated_on_conflict
def _refresh(row: WorkflowRun | DeadLetterEntry) -> None:
    """As the database has it now; if it has gone meanwhile, with a run that ended and was cleaned up, as it was."""
    try:
        row.refresh_from_db(using=alias())  # a replica may not know yet what has just been done
    except (WorkflowRun.DoesNotExist, DeadLetterEntry.DoesNotExist):
        pass


def _archived(run_uid: UUID, action: str) -> ArchivedRun | None:
    """What to say of a run that is archived; None of others."""
    head = Head.objects.using(alias()).filter(run_uid=run_uid, archived_at__isnull=False).first()
    return ArchivedRun(head.run_id, action) if head else None


def rewind(run: WorkflowRun, to_step: str, *, actor: str | None, reason: str) -> bool:
    """Has ``to_step`` and the steps recorded after it run again; an open dead letter of the run is thereby replayed."""
    return operate(run, "rewind", actor=actor, reason=reason, step_id=checked_step_id(to_step))


def resolve(run: WorkflowRun, step_id: str, result: Any, *, actor: str | None, reason: str) -> bool:
    """Records ``result`` as what a doubtful step came to, and has the run go on."""
    outcome = sealing.seal(run.run_uid, codec.encode(result, path="result", limit=conf.max_payload_size))
    return operate(run, "resolve", actor=actor, reason=reason, step_id=checked_step_id(step_id), outcome=outcome)


def note(run: WorkflowRun, text: str, *, actor: str | None) -> None:
    """Leaves a note on a run, whatever state it is in. Raises InvalidText, UnknownRun and ArchivedRun."""
    payload = json.dumps({"reason": checked_reason(text)})
    event = log.NewEvent(types.RUN_NOTED, payload=payload)
    try:
        log.append(run.run_uid, None, [event], actor=checked_actor(actor))
    except UnknownRun as error:
        raise _archived(run.run_uid, "note something on") or error from error


def rebuild(run: WorkflowRun, *, actor: str | None, reason: str) -> int:
    """Folds the run's projections from its log again; how many rows had not been as the log says.

    Raises PermissionDenied when the database role may not write projections, and UnknownRun.
    """
    reason, actor = checked_reason(reason), checked_actor(actor)
    try:
        with owners_only("rebuild projections"), transaction.atomic(using=alias()):
            head = Head.objects.using(alias()).get(run_uid=run.run_uid)
            repaired = sum(part.repaired.total() for part in rebuilding.rebuild(head.run_id))
            facts, payload = json.dumps({"repaired": repaired}), json.dumps({"reason": reason})
            log.append(run.run_uid, None, [log.NewEvent(types.RUN_REBUILT, None, facts, payload)], actor=actor)
    except Head.DoesNotExist as error:
        raise UnknownRun(run.run_id) from error
    except UnknownRun as error:
        raise _archived(run.run_uid, "rebuild") or error from error
    _refresh(run)
    return repaired


def replay(entry: DeadLetterEntry, *, from_start: bool, actor: str | None, reason: str) -> str:
    """Has a failed run go on at the step it failed in, or a new run do all of it; the id of the run that does.

    However often it is asked for, it happens once; the log keeps every request.
    """
    try:
        run = WorkflowRun.objects.using(alias()).get(pk=entry.run_uid)
    except WorkflowRun.DoesNotExist as error:
        # cleanup_workflows --workflows-only keeps dead letters of runs that it has archived.
        raise _archived(entry.run_uid, "replay") or error from error
    workflow = registry.get_workflow(
        entry.workflow_id
    )  # before the entry is settled: its deliveries would find no code
    if not from_start:
        operate(run, "replay", actor=actor, reason=reason, step_id=entry.step_id, facts={"failed_seq": entry.seq})
        _refresh(entry)
        return run.run_id
    if run.data is None:
        raise RedactedHistory
    data = codec.untag(sealing.opened(run.run_uid, run.data))
    new_id = f"replay-{entry.id}-of-{run.run_uid}"
    failure = {"failed_seq": entry.seq, "run_id": new_id}
    with transaction.atomic(using=alias()):
        if operate(run, "restart", actor=actor, reason=reason, facts=failure):
            origin = {"kind": "restart", "run_id": run.run_id, "failed_seq": entry.seq}
            key = run.events.get(seq=1).facts.get("unique")
            started = trigger(
                workflow.workflow_id,
                data,
                new_id,
                actor=actor,
                timeout=workflow.timeout,
                label=run.label,
                origin=origin,
                unique=key,
            )
            if started != new_id:
                raise OperationRefused(
                    f"cannot restart run {run.run_id}: run {started} is active with the same unique key"
                )
    _refresh(entry)
    return new_id


def replay_all(entries: Iterable[DeadLetterEntry], *, actor: str | None, reason: str) -> list[Replayed]:
    """Replays each entry on its own: one that cannot be replayed does not keep the others from it.

    Raises InvalidText for a reason or an actor that none can be replayed with.
    """
    actor, reason = checked_actor(actor), checked_reason(reason)
    results = []
    for entry in entries:
        try:
            results.append(Replayed(entry, replay(entry, from_start=False, actor=actor, reason=reason)))
        except HookFlowException as error:
            logger.warning("hookflow: dead letter %s was not replayed: %s", entry.pk, error)
            results.append(Replayed(entry, None, error))
    return results
