"""What the end of a run means for others: the run that waits for it goes on, and those it started and leaves are cancelled.

The transaction in which a run ends leaves a row in the outbox. Whoever committed it acts on it right after, in transactions
of its own, so that a run is never locked together with its parent or its children; a relay does if that fails. However
often it is done, it is done once: a wait is settled while it stands, and a run is cancelled while it lives.
"""

from __future__ import annotations

import json
import logging
import math
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from django_hookflow import sealing
from django_hookflow.delivery import outbox
from django_hookflow.events import log
from django_hookflow.events.database import alias, repeated_on_conflict
from django_hookflow.events.log import Ending
from django_hookflow.exceptions import HookFlowException, RedactedHistory, RunCancelled, UnknownRun
from django_hookflow.runtime import failures
from django_hookflow.runtime.step import cause_of, payload_of

logger = logging.getLogger("django_hookflow.turn")

#: Runs that are cancelled in one transaction; and ends that whoever committed one acts on, the others are a relay's.
AT_ONCE = 100


def hand_on_after_commit(run_uid: UUID) -> None:
    """Has the run's end acted on once the transaction commits. Never raises: what fails here a relay does."""
    try:
        transaction.on_commit(partial(_try_to_hand_on, run_uid), using=alias(), robust=True)
    except Exception:  # a transaction that the caller manages by hand and no hook can follow
        logger.exception("the end of run %s is left to a relay", run_uid)


def _try_to_hand_on(run_uid: UUID) -> None:
    try:
        hand_on(run_uid, most=AT_ONCE)
    except Exception:  # whatever went wrong, the caller's transaction is committed and its request must go on
        logger.exception("the end of run %s is left to a relay", run_uid)


def hand_on(run_uid: UUID, *, most: float = math.inf) -> None:
    """Acts on what the outbox says of a run's end, and of the ends of those that are cancelled by it, if it says anything.

    After about ``most`` of them the others are left to a relay.
    """
    ended = [run_uid]
    while ended and most > 0:
        uid, most = ended.pop(), most - 1
        end = log.ending(uid)
        if end is None:
            continue
        if end.parent_uid is not None:
            _join(uid, end.parent_uid, end)
        is_done = False
        while not is_done and most > 0:
            cancelled = _cancel_orphans(uid, end.seq)
            is_done, most = len(cancelled) < AT_ONCE, most - len(cancelled)
            ended += cancelled


@repeated_on_conflict
def _join(run_uid: UUID, parent_uid: UUID, end: Ending) -> None:
    failure, payload = _outcome(run_uid, parent_uid, end)
    try:
        with transaction.atomic(using=alias()):
            done = log.join(
                parent_uid, end.step_id, end.key, failure=failure, payload=payload, sending=outbox.sending()
            )
            outbox.publish_announced(end.parent_workflow_id, end.parent_run_id, parent_uid, done, using=alias())
    except UnknownRun:  # it has gone to an archive meanwhile
        return


def _cancel_orphans(run_uid: UUID, seq: int) -> list[UUID]:
    with transaction.atomic(using=alias()):
        cancelled = log.cancel_orphans(run_uid, seq, AT_ONCE)
        for each in cancelled:
            outbox.withdraw_after_commit(each, using=alias())
    return cancelled


def _outcome(run_uid: UUID, parent_uid: UUID, end: Ending) -> tuple[str | None, str]:
    """What the step that waits comes to: the facts of its failure, None for a result, and the payload, both JSON text."""
    if end.status == "completed" and end.payload is not None:
        try:
            return None, _resealed(run_uid, parent_uid, end.payload)
        except HookFlowException as error:  # the run's key is gone
            failure = failures.describe(error)
    else:
        failure = _failure(end)
    failure["run_id"] = end.run_id
    return json.dumps(cause_of(failure, end.step_id)), payload_of(failure)


def _resealed(run_uid: UUID, parent_uid: UUID, payload: str) -> str:
    """A result that was sealed for one run, as it is sealed for another."""
    result = json.loads(payload)["result"]
    opened = sealing.opened(run_uid, result)
    if opened is result:
        return payload
    return f'{{"result":{sealing.seal(parent_uid, json.dumps(opened, ensure_ascii=False))}}}'


def _failure(end: Ending) -> dict[str, Any]:
    """What kept a run from its result, as ``failures.describe`` describes it."""
    said: dict[str, Any] = json.loads(end.payload or "{}")
    if end.status == "failed":
        error = json.loads(end.facts or "{}").get("error", "")
        return {"type": error, "message": "", "traceback": "", **said}
    if end.status == "cancelled":
        return failures.describe(RunCancelled(said.get("reason", "")))
    return failures.describe(RedactedHistory())
