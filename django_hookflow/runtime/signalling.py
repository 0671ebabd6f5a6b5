"""Signals: what other people and systems send to a run while it is under way, and a step of it waits for.

A signal is an event. If a step waits for its name when it comes, the wait is settled in the same call; else it stays in the
history, and the next wait of that name takes it: the order of the log decides, and each is taken once.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from django_hookflow import sealing
from django_hookflow.conf import conf
from django_hookflow.delivery import outbox
from django_hookflow.events import codec, log
from django_hookflow.events.database import alias, repeated_on_conflict
from django_hookflow.exceptions import UnknownRun
from django_hookflow.models import Head
from django_hookflow.texts import checked_actor, checked_run_id, checked_signal_id, checked_signal_name


def signal(workflow_id: str, run_id: str, name: str, value: Any, *, id: str | None, actor: str | None) -> bool:
    """Sends the run ``run_id`` of a workflow a signal, as :func:`send` says; also raises UnknownRun."""
    head = Head.objects.using(alias()).filter(run_id=checked_run_id(run_id), workflow_id=workflow_id).first()
    if head is None:
        raise UnknownRun(run_id)
    return send(head.run_uid, workflow_id, run_id, name, value, id=id, actor=actor)


def send(
    run_uid: UUID, workflow_id: str, run_id: str, name: str, value: Any, *, id: str | None, actor: str | None
) -> bool:
    """Sends a signal; False when the run has had one with this ``id`` before, which changes nothing.

    It has been sent if and only if the transaction this is called in commits. Raises OperationRefused when the run has
    ended, UnknownRun when it has gone, NotSerializable and InvalidText before anything is written.
    """
    encoded = codec.encode(value, path="value", limit=conf.max_payload_size)
    name, signal_id, actor = checked_signal_name(name), checked_signal_id(id), checked_actor(actor)
    sealed = sealing.seal(run_uid, encoded)

    @repeated_on_conflict
    def deliver() -> bool:
        with transaction.atomic(using=alias()):
            sent = log.signal(run_uid, name, signal_id, sealed, actor=actor, sending=outbox.sending())
            outbox.publish_announced(workflow_id, run_id, run_uid, sent, using=alias())
        return sent.applied

    return deliver()
