"""What a step raised, as a record that can be kept for years: type, message and traceback, without secrets."""

from __future__ import annotations

import ast
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from django.conf import settings

from django_hookflow.conf import SETTINGS
from django_hookflow.exceptions import RecordedFailure

#: Enough for any traceback a person reads; the middle is cut from longer ones.
MAX_TEXT = 16_000
REDACTED = "[redacted]"

#: Their beginnings are bounded, or the search would take the square of the text's length.
_SECRET_WORD = r"[\w-]{0,40}(?:password|passwd|secret|token|api[_-]?key|authorization|credential|signature)[\w-]*"
_SECRETS = [
    re.compile(rf"(?i)(\b{_SECRET_WORD}[\"']?\s*[:=]\s*)(?:bearer\s+|basic\s+)?(\"[^\"]*\"|'[^']*'|[^\s,;&)}}\]]+)"),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)([\w.~+/=-]{8,})"),
    re.compile(r"(\b\w[\w+.-]{0,40}://[^\s:/@]*:)([^\s/@]+)(?=@)"),
    re.compile(r"()(\b(?:sk|pk|rk|ghp|gho|ghs|sig|xox[abp])_[A-Za-z0-9_]{8,})"),
]

#: What people leave when they wrap code of this package around theirs: our frames say nothing about their error.
_OWN_FRAMES = str(Path(__file__).resolve().parent)


def describe(error: BaseException) -> dict[str, str]:
    """``{"type": dotted class path, "message": str, "traceback": str}`` of an exception, redacted and bounded."""
    return {
        "type": type_name(type(error)),
        "message": redact(_safe_str(error)),
        "traceback": redact(_traceback(error)),
    }


def type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def rebuild(recorded: dict[str, Any]) -> Exception:
    """The exception that a record tells of: of its own class where that is loaded and takes the message, else a RecordedFailure."""
    name, message = str(recorded.get("type", "")), str(recorded.get("message", ""))
    module, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(module or "builtins"), attribute, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        for argument in (message, _literal(message)):
            rebuilt = kind.__new__(kind)
            rebuilt.args = (argument,)
            if _safe_str(rebuilt) == message:
                return rebuilt
    return RecordedFailure(name, message)


def _literal(message: str) -> Any:
    """What ``message`` is the repr of, if anything: a KeyError's text is the repr of its key."""
    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def redact(text: str) -> str:
    """``text`` without what looks like a secret or is one of this project's, and short enough to keep."""
    unread = max(0, len(text) - 2 * MAX_TEXT)  # the middle of what has megabytes is cut before anything is looked for
    if unread:
        text = text[:MAX_TEXT] + text[-MAX_TEXT:]
    for value in _known_secrets():
        text = text.replace(value, REDACTED)
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{REDACTED}", text)
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
    excess = len(text) + unread - MAX_TEXT
    if excess > 0:
        text = f"{text[: MAX_TEXT // 2]}\n… {excess:,} characters cut …\n{text[-MAX_TEXT // 2 :]}"
    return text


def _known_secrets() -> list[str]:
    values = [setting.read() for setting in SETTINGS.values() if setting.secret]
    values.append(settings.SECRET_KEY)
    values.extend(database.get("PASSWORD") for database in settings.DATABASES.values())
    return [value for value in values if isinstance(value, str) and len(value) >= 8]


def _safe_str(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # an exception whose __str__ raises must not take the record down with it
        return f"(its text could not be read: {type(broken).__name__})"


def _traceback(error: BaseException) -> str:
    try:
        told = traceback.TracebackException.from_exception(error, limit=-40)
        told.stack = traceback.StackSummary.from_list(
            [frame for frame in told.stack if not frame.filename.startswith(_OWN_FRAMES)] or list(told.stack)
        )
        return "".join(told.format())
    except Exception as broken:  # as above
        return f"(the traceback could not be read: {type(broken).__name__})"
