"""Texts that come from outside and are kept in the log for ever: ids, labels, actors, reasons, keys.

Each is checked before anything is written, in time that is linear in its length, and comes back as plain ``str``, also
from a subclass. Raises InvalidText, which names what was wrong.
"""

from __future__ import annotations

import json
from typing import Any

from django_hookflow.exceptions import InvalidText

#: Bytes, as they stand in a message, where a quote takes two; see registry.MAX_WORKFLOW_ID.
MAX_RUN_ID = 200
#: Characters, as all below; the columns of the projections hold as many.
MAX_STEP_ID = 255
MAX_LABEL = 255
MAX_ACTOR = 255
MAX_REASON = 10_000
#: Of the primary key of what a run is about.
MAX_SUBJECT_KEY = 255
#: Of one key in the path to a value that is to be redacted.
MAX_PATH_KEY = 1_000


def checked_run_id(run_id: Any) -> str:
    """A run id: printable, not empty, at most 200 bytes as JSON."""
    text = _checked("run_id", run_id, MAX_RUN_ID)
    size = len(json.dumps(text, ensure_ascii=False).encode()) - 2
    if not text or size > MAX_RUN_ID:
        raise InvalidText("run_id", run_id, f"is empty or longer than {MAX_RUN_ID} bytes")
    return text


def checked_step_id(step_id: Any) -> str:
    """A step id: printable, not empty, at most 255 characters."""
    return _checked_name("step id", step_id)


def checked_label(label: Any) -> str:
    """A label: printable, at most 255 characters; "" for none."""
    return "" if label is None else _checked("label", label, MAX_LABEL)


def checked_actor(actor: Any) -> str | None:
    """Who did something: printable, at most 255 characters; None, or "", for nobody who is named."""
    return None if actor is None else _checked("actor", actor, MAX_ACTOR) or None


def checked_reason(reason: Any) -> str:
    """Why something was done: at most 10,000 characters, line breaks allowed; "" for no reason."""
    return "" if reason is None else _checked("reason", reason, MAX_REASON, printable=False)


def checked_note(note: Any) -> str:
    """What is said of a run's progress: printable, at most 255 characters; "" for nothing."""
    return _checked("note", note, MAX_LABEL)


def checked_subject_key(key: Any) -> str:
    """The text of a primary key: at most 255 characters."""
    return _checked("subject", key, MAX_SUBJECT_KEY, printable=False)


def checked_signal_name(name: Any) -> str:
    """The name of a signal: printable, not empty, at most 255 characters."""
    return _checked_name("signal name", name)


def checked_signal_id(id: Any) -> str | None:
    """What names a signal for its sender: printable, not empty, at most 255 characters; None for nothing."""
    return None if id is None else _checked_name("signal id", id)


def checked_unique_key(key: Any) -> str | None:
    """What one run under way may be started with at a time: printable, not empty, at most 255 characters; None for nothing."""
    return None if key is None else _checked_name("unique", key)


def checked_path_key(key: Any) -> str:
    """A key in a payload: at most 1,000 characters."""
    return _checked("path", key, MAX_PATH_KEY, printable=False)


def _checked_name(name: str, value: Any) -> str:
    text = _checked(name, value, MAX_STEP_ID)
    if not text:
        raise InvalidText(name, value, "is empty")
    return text


def _checked(name: str, value: Any, limit: int, *, printable: bool = True) -> str:
    if not isinstance(value, str):
        raise InvalidText(name, value, f"is {type(value).__name__}, not text")
    text = str.__str__(value)  # a subclass may have notions of its own of what it looks like
    if len(text) > limit:
        raise InvalidText(name, text[:80], f"is longer than {limit:,} characters")
    if printable and not text.isprintable():
        raise InvalidText(name, text, "has characters that cannot be printed")
    if not printable and not _can_be_stored(text):
        raise InvalidText(name, text, "has characters that PostgreSQL cannot hold (NUL, or half of a surrogate pair)")
    return text


def _can_be_stored(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
