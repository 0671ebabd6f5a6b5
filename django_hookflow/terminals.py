"""Text for a terminal: what runs are called and what strangers answer, as an output can hold it; and counts."""

from __future__ import annotations

from typing import Any


def clean(text: str) -> str:
    """``text`` as it can be shown on a terminal without moving its cursor or changing its colours."""
    return "".join(character if character.isprintable() else " " for character in text)


def encoding_of(stdout: Any) -> str:
    """Of what Django's wrapper writes to: in older versions the wrapper itself names none."""
    return getattr(getattr(stdout, "_out", None), "encoding", None) or "utf-8"


def can_encode(text: str, encoding: str) -> bool:
    return encodable(text, encoding) == text


def encodable(text: str, encoding: str) -> str:
    """``text`` with a question mark for each character that an output of this encoding cannot hold."""
    return text.encode(encoding, "replace").decode(encoding)


def counted(number: int, what: str) -> str:
    """``1 run``, ``2,000 runs``, ``no runs``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}" if number else f"no {what}s"
