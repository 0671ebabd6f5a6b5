"""Removing what must not be kept from payloads, for a person's erasure request for instance.

The database does it in one call (``hookflow_redact``): the payload goes and its digest stays, so that the hash chain
still verifies; the redaction is an event of its own; and the projections follow. Ids, step ids and actors are covered
by the hash itself and stay: put no personal data in them. Backups and archives made before are beyond its reach.
"""

from __future__ import annotations

from collections.abc import Sequence

from django_hookflow.events import log
from django_hookflow.events.database import alias
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.texts import checked_actor, checked_path_key, checked_reason


def redact(
    run: WorkflowRun, seq: int | None, path: str | Sequence[str] | None, *, actor: str | None, reason: str
) -> int:
    """Redacts the event ``seq`` of a run, or all of them: what stands at ``path``, or the whole payload. How many it was.

    Raises WorkflowError for an empty reason or path, OperationRefused for a run that has not ended, and
    PermissionDenied when the database role may not redact.
    """
    reason = checked_reason(reason)
    if not reason.strip():
        raise WorkflowError("a redaction needs a reason")
    keys = path.split(".") if isinstance(path, str) else None if path is None else list(path)
    if keys is not None and not (keys and all(keys)):
        raise WorkflowError(
            f"path {path!r:.80} is not a path: use keys separated by dots, such as 'data.customer.email'"
        )
    keys = keys and [checked_path_key(key) for key in keys]
    redacted = log.redact(run.run_uid, seq, keys, reason=reason, actor=checked_actor(actor))
    run.refresh_from_db(using=alias())  # a replica may not know yet
    return redacted
