"""Errors as lists show them: the type in bold, and the message without what the engine has put before it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.html import format_html
from django.utils.text import Truncator

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

#: Characters of a message that a row of a list holds. The style sheet shows two lines of them.
MAX_MESSAGE = 300
PREFIX = re.compile(r"step .+? failed after \d+ attempts?: ", re.DOTALL)


def short_type(error_type: str) -> str:
    return error_type.rpartition(".")[2]


def own_message(error_type: str, message: str) -> str:
    """A message without ``step 'x' failed after 4 attempts: Type:``, which is what the type and the step say already."""
    if found := PREFIX.match(message):
        message = message[found.end() :]
        for name in (error_type, short_type(error_type)):
            if name and message.startswith(f"{name}:"):
                return message[len(name) + 1 :].strip()
    return message.strip()


def show_error(error_type: str, message: str | None) -> SafeString:
    """``message`` is None for who may not see it."""
    words = Truncator("withheld" if message is None else own_message(error_type, message)).chars(MAX_MESSAGE)
    return format_html(
        '<span class="hookflow-why" title="{}: {}"><b>{}</b> {}</span>',
        *(error_type, words, short_type(error_type), words),
    )
