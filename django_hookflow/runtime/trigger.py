"""Starting a run: recorded in the caller's transaction, announced when that commits."""

from __future__ import annotations

import json
import os
import time
import uuid
from typing import Any

from django_hookflow import sealing
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports import get_transport
from django_hookflow.events import codec, log
from django_hookflow.events.database import alias
from django_hookflow.exceptions import RunConflict, WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime.turn import DEADLINE_SEQ

#: Bytes, as they stand in a message, where a quote takes two; see registry.MAX_WORKFLOW_ID.
MAX_RUN_ID = 200
MAX_LABEL = 255


def trigger(
    workflow_id: str,
    data: dict[str, Any] | None,
    run_id: str | None,
    *,
    actor: str | None = None,
    timeout: float | None = None,
    label: str | None = None,
) -> str:
    """Starts a run of a workflow and returns its id.

    The run exists if and only if the transaction this is called in commits; its first message goes out after that, and
    if it cannot be sent a relay sends it later. With a ``run_id`` the call is idempotent: the same id with the same data
    is the same run. ``actor`` says who or what started it, for the log; ``label`` is what people know the run by.

    Raises RunConflict when the id belongs to a run of another workflow or with other data, NotSerializable when ``data``
    cannot be recorded, NotConfigured when the transport lacks a setting, all before anything is written.
    """
    get_transport().check_configured()
    if data is not None and not isinstance(data, dict):
        raise WorkflowError(f"trigger data is a dict, not {type(data).__name__}: {data!r:.80}")
    encoded = codec.encode(data or {}, path="data", limit=conf.max_payload_size)
    run_uid = uuid7()
    run_id = str(run_uid) if run_id is None else _checked_run_id(run_id)
    label = _checked_label(label)
    recorded = sealing.seal(run_uid, encoded)
    started = log.start(
        run_uid, run_id, workflow_id, recorded, actor=actor, grace=outbox.grace(), timeout=timeout, label=label
    )
    if not started.same and not _is_same_sealed(started.run_uid, workflow_id, encoded):
        raise RunConflict(run_id, workflow_id)
    if started.created:
        outbox.publish_after_commit(Message(workflow_id, run_id, started.seq, run_uid, 1), using=alias())
        if timeout is not None:
            deadline = Message(workflow_id, run_id, DEADLINE_SEQ, run_uid, 1, timeout)
            outbox.publish_after_commit(deadline, using=alias())
    return run_id


def _is_same_sealed(run_uid: uuid.UUID, workflow_id: str, encoded: str) -> bool:
    """Whether the run has this workflow and data: sealed twice, the same data is not the same text."""
    if conf.seal is None:
        return False
    run = WorkflowRun.objects.using(alias()).filter(run_uid=run_uid, workflow_id=workflow_id).first()
    return run is not None and bool(sealing.opened(run_uid, run.data) == json.loads(encoded))


def uuid7() -> uuid.UUID:
    """A UUID that begins with the time in milliseconds (RFC 9562 §5.7), so that ids, and partitions, follow time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _checked_label(label: Any) -> str:
    if label is None or label == "":
        return ""
    if not isinstance(label, str) or len(label) > MAX_LABEL or not label.isprintable():
        raise WorkflowError(f"label {label!r:.80} is not text of at most {MAX_LABEL} characters that can be printed")
    return label


def _checked_run_id(run_id: Any) -> str:
    if not isinstance(run_id, str):
        raise WorkflowError(f"run_id is text, not {type(run_id).__name__}: {run_id!r:.80}")
    size = len(json.dumps(run_id, ensure_ascii=False).encode("utf-8", "replace")) - 2
    if not run_id or size > MAX_RUN_ID or not run_id.isprintable():
        raise WorkflowError(
            f"run_id {run_id[:80]!r} is empty, longer than {MAX_RUN_ID} bytes or has characters that cannot be printed"
        )
    return run_id
