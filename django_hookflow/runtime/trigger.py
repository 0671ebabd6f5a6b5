"""Starting a run: recorded in the caller's transaction, announced when that commits."""

from __future__ import annotations

import datetime
import json
import os
import time
import uuid
from functools import partial
from typing import Any

from django.db import transaction

from django_hookflow import sealing
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import DEADLINE, Message
from django_hookflow.delivery.transports import get_transport
from django_hookflow.durations import Duration, checked_moment, checked_seconds
from django_hookflow.events import codec, log
from django_hookflow.events.database import after_other_transactions, alias, find_other_transaction
from django_hookflow.events.log import RunStart
from django_hookflow.exceptions import RunConflict, WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime import stateless
from django_hookflow.subjects import Subject, references_to
from django_hookflow.texts import checked_actor, checked_label, checked_run_id, checked_unique_key


def trigger(
    workflow_id: str,
    data: dict[str, Any] | None,
    run_id: str | None,
    *,
    actor: str | None = None,
    timeout: float | None = None,
    label: str | None = None,
    subject: Subject = None,
    origin: dict[str, Any] | None = None,
    trace: dict[str, str] | None = None,
    delay: Duration | None = None,
    at: datetime.datetime | None = None,
    unique: str | None = None,
) -> str:
    """Starts a run of a workflow and returns its id.

    The run exists if and only if the transaction this is called in commits; its first message goes out after that, and
    if it cannot be sent a relay sends it later. Called in a transaction of another database than the log's, it starts the
    run when that has committed. With a ``run_id`` the call is idempotent: the same id with the same data
    is the same run. ``actor`` says who or what started it, for the log; ``label`` is what people know the run by;
    ``subject`` is what it is about: a saved model instance, or up to five. ``origin`` says what else started it
    (``{"kind": str, …}``), ``trace`` is the trace context it belongs to (W3C header names and values).

    With ``delay`` (seconds or a ``timedelta``) or ``at`` (a moment with a time zone) the run begins then, by the database's
    clock, and its timeout counts from that moment; what is past is now. While a run of the workflow that was started with
    the key ``unique`` has not ended, that run is the answer and nothing is started.

    Raises RunConflict when the id belongs to a run of another workflow or with other data, NotSerializable when ``data``
    cannot be recorded, InvalidText for an id, a label or an actor that cannot, NotConfigured when the transport lacks a
    setting, all before anything is written.
    """
    get_transport().check_configured()
    if data is not None and not isinstance(data, dict):
        raise WorkflowError(f"trigger data must be a dict, not {type(data).__name__}: {data!r:.80}")
    encoded = codec.encode(data or {}, path="data", limit=conf.max_payload_size)
    actor, label = checked_actor(actor), checked_label(label)
    beginning = _beginning(delay, at, unique)
    run_uid = uuid7()
    run_id = str(run_uid) if run_id is None else checked_run_id(run_id)
    facts = {"timeout": timeout, "origin": origin, "subject": references_to(subject), "trace": trace}
    if not conf.persistence_enabled:
        of_the_log = {**facts, "actor": actor, "label": label, "unique": beginning.unique}
        return stateless.start(workflow_id, run_id, encoded, of_the_log, beginning)
    labelled = f',"label":{json.dumps(label)}' if label else ""
    facts_text = json.dumps({name: fact for name, fact in facts.items() if fact}, ensure_ascii=False)
    payload = f'{{"data":{sealing.seal(run_uid, encoded)}{labelled}}}'
    start = partial(_start, workflow_id, run_id, run_uid, facts_text, payload, encoded, actor, timeout, beginning)
    if origin is None and find_other_transaction():
        with transaction.atomic(using=alias()):  # raises now what it would raise then
            found = start()
            transaction.set_rollback(True, using=alias())
        after_other_transactions(start)
        return found
    return start()


def _start(
    workflow_id: str,
    run_id: str,
    run_uid: uuid.UUID,
    facts: str,
    payload: str,
    encoded: str,
    actor: str | None,
    timeout: float | None,
    beginning: RunStart,
) -> str:
    started = log.start(
        run_uid, run_id, workflow_id, facts, payload, actor=actor, sending=outbox.sending(), beginning=beginning
    )
    if not started.same and not _is_same_sealed(started.run_uid, workflow_id, encoded):
        raise RunConflict(run_id, workflow_id)
    if started.created:
        due_in = started.due_in or 0.0
        outbox.publish_after_commit(Message(workflow_id, run_id, started.seq, run_uid, 1, due_in), using=alias())
        if timeout is not None:
            deadline = Message(workflow_id, run_id, started.seq, run_uid, 1, due_in + timeout, DEADLINE)
            outbox.publish_after_commit(deadline, using=alias())
    return started.run_id


def _beginning(delay: Any, at: Any, unique: Any) -> RunStart:
    if delay is not None and at is not None:
        raise ValueError("delay and at cannot be combined: pass one of them")
    delay = None if delay is None else checked_seconds("trigger: delay", delay)
    return RunStart(checked_unique_key(unique), delay, None if at is None else checked_moment("trigger: at", at))


def _is_same_sealed(run_uid: uuid.UUID, workflow_id: str, encoded: str) -> bool:
    """Whether the run has this workflow and data: sealed twice, the same data is not the same text."""
    if conf.seal is None:
        return False
    run = WorkflowRun.objects.using(alias()).filter(pk=run_uid, workflow_id=workflow_id).first()
    return run is not None and bool(sealing.opened(run_uid, run.data) == json.loads(encoded))


def uuid7() -> uuid.UUID:
    """A UUID that begins with the time in milliseconds (RFC 9562 §5.7), so that ids, and partitions, follow time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
