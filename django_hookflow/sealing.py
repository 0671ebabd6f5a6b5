"""Encrypting what runs carry, with keys that can be destroyed.

``DJANGO_HOOKFLOW_SEAL`` names an object with two methods, or a class of such objects. What a run is triggered with, what
its steps return and what it returns are then recorded sealed, as ``{"$sealed": text}``, in the log and in the
projections, backups and archives; workflows get them opened. With a key for each run, destroying the key shreds all of
it wherever it has gone, and the hash chain still verifies. Error messages, tracebacks, ids and actors are not sealed.
"""

from __future__ import annotations

import json
from typing import Any, Protocol
from uuid import UUID

from django.utils.module_loading import import_string

from django_hookflow.conf import InvalidSetting, conf
from django_hookflow.exceptions import HookFlowException

TAG = "$sealed"


class Seal(Protocol):
    """What ``DJANGO_HOOKFLOW_SEAL`` names. Both methods may use the database; they are called outside transactions too."""

    def seal(self, run_uid: UUID, text: str) -> str:
        """``text``, which is JSON, in a form that only :meth:`open` can read. Makes the run's key if it has none."""

    def open(self, run_uid: UUID, sealed: str) -> str:
        """The text again. Raises CannotOpen when the run's key has been destroyed."""


class CannotOpen(HookFlowException):
    """What a run carries was sealed, and cannot be opened (any more). Not tried again."""

    def __init__(self, run_uid: UUID, why: str = "its key has been destroyed") -> None:
        super().__init__(f"the sealed data of run {run_uid} cannot be opened: {why}")


def seal(run_uid: UUID, encoded: str) -> str:
    """The JSON text to record for the JSON text of a value."""
    chosen = _configured()
    return encoded if chosen is None else json.dumps({TAG: chosen.seal(run_uid, encoded)})


def opened(run_uid: UUID, value: Any) -> Any:
    """A recorded value as it was before it was sealed, such as ``opened(run.run_uid, run.data)``; others as they are.

    Raises CannotOpen when the key is gone or ``DJANGO_HOOKFLOW_SEAL`` names nothing any more.
    """
    if not (isinstance(value, dict) and value.keys() == {TAG}):
        return value
    chosen = _configured()
    if chosen is None:
        raise CannotOpen(run_uid, "DJANGO_HOOKFLOW_SEAL is not configured")
    return json.loads(chosen.open(run_uid, value[TAG]))


def _configured() -> Seal | None:
    path = conf.seal
    if path is None:
        return None
    try:
        found = import_string(path)
    except ImportError as error:
        raise InvalidSetting(
            "DJANGO_HOOKFLOW_SEAL", f"cannot be imported ({error})", "set it to the dotted path of a class or an object"
        ) from error
    chosen: Seal = found() if isinstance(found, type) else found
    return chosen
