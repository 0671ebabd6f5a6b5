"""Text of an error without what sounds like a secret, and short enough to keep for years.

Every pattern here costs time linear in the text, also in a hostile one: none begins with a repetition, and what is
repeated ends where the next attempt could begin.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings

from django_hookflow.conf import SETTINGS

#: Characters; enough for any traceback a person reads. The middle is cut from longer ones.
MAX_TEXT = 16_000
MASKED = "[masked]"

_WORD = re.compile(r"(?i)password|passwd|secret|token|api[_-]?key|authorization|credential|signature")
#: From such a word to its value: ``token=``, ``"api_key_id": ``, ``Authorization: Bearer ``.
_TO_VALUE = re.compile(
    r"(?i)[\w-]{0,40}(?:\\*[\"'])?\s*(?:=>|[:=])\s*(?:(?:bearer|basic|digest|token|apikey|negotiate)\s+)?"
)
_BARE_VALUE = re.compile(r"[^\s,;&)}\]]+")
_SECRETS = [
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)([\w.~+/=-]{8,})"),
    re.compile(r"(://[^\s:/@]*:)([^\s/]+)(?=@)"),
    re.compile(r"()(\b(?:(?:sk|pk|rk|ghp|gho|ghs|sig|github_pat)_|xox[abprs][_-])[A-Za-z0-9_]{8,})"),
]


def mask(text: str) -> str:
    """``text`` without what sounds like a secret or is one of this project's, and little longer than MAX_TEXT characters."""
    if len(text) <= 2 * MAX_TEXT:
        masked = _masked(text)
        return masked if len(masked) <= MAX_TEXT else _joined(masked, masked, len(masked) - MAX_TEXT)
    # The middle of what has megabytes is cut before anything is searched. What follows the cut may be the rest of a
    # secret whose name is gone, and moves into what is kept when much of the tail is masked.
    head, tail = _masked(text[:MAX_TEXT]), _masked(text[-MAX_TEXT:])
    return _joined(head, tail[1000:], len(text) - MAX_TEXT)


def has_secret(text: str) -> bool:
    """Whether :func:`mask` would hide any of ``text``."""
    return _without_secrets(text) != text


def storable(text: str) -> str:
    """``text`` as PostgreSQL can hold it: NUL and lone surrogates are written out."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def _masked(text: str) -> str:
    return storable(_without_secrets(text))


def _without_secrets(text: str) -> str:
    for value in _known_secrets():
        text = text.replace(value, MASKED)
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{MASKED}", text)
    return _without_values(text)


def _joined(head: str, tail: str, cut: int) -> str:
    return f"{head[: MAX_TEXT // 2]}\n… {cut:,} characters cut …\n{tail[-MAX_TEXT // 2 :]}"


def _without_values(text: str) -> str:
    """``text`` with the values of words that sound like a secret masked, each character looked at a few times at most."""
    parts, done = [], 0
    for word in _WORD.finditer(text):
        if word.start() < done:  # within a value that is masked already
            continue
        found = _TO_VALUE.match(text, word.end())
        end = _end_of_value(text, found.end()) if found else 0
        if found and end > found.end():
            parts += [text[done : found.end()], MASKED]
            done = end
    return "".join([*parts, text[done:]])


def _end_of_value(text: str, start: int) -> int:
    """Where the value that begins at ``start`` ends: before what separates, which within quotes nothing does."""
    quote, end = text[start : start + 1], -1
    if quote in ('"', "'"):
        end = text.find(quote, start + 1)
        while end > 0 and _is_escaped(text, start, end):
            end = text.find(quote, end + 1)
    elif text.startswith(MASKED, start):
        end = start + len(MASKED) - 1
    end = end + 1 if end > 0 else start
    bare = _BARE_VALUE.match(text, end)
    return bare.end() if bare else end


def _is_escaped(text: str, start: int, at: int) -> bool:
    backslashes = at
    while backslashes > start + 1 and text[backslashes - 1] == "\\":
        backslashes -= 1
    return (at - backslashes) % 2 == 1


def _known_secrets() -> list[str]:
    values: list[Any] = [setting.read() for setting in SETTINGS.values() if setting.secret]
    values += [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    values += [database.get("PASSWORD") for database in settings.DATABASES.values()]
    return [value for value in values if isinstance(value, str) and len(value) >= 8]
