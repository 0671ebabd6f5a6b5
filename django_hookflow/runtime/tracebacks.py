"""The traceback of an error as Python prints it, within bounds whatever the error is.

A chain may have ten thousand links, a group a million members and a note a megabyte: what is shown of each has a limit,
and the rest is counted. Python's own formatting looks at all of it first.
"""

from __future__ import annotations

import builtins
import traceback
from collections.abc import Iterator
from pathlib import Path

from django_hookflow.runtime.masking import mask

#: How many are shown: of one error's innermost frames, of a chain's links (half from each end), of a group's members,
#: of groups within groups, of an error's notes, and of errors in all.
FRAMES, LINKS, MEMBERS, DEPTH, NOTES, ERRORS = 40, 16, 10, 4, 10, 50
#: Links that are followed to find a chain's other end.
MAX_CHAIN = 10_000
#: Characters of an error's text, of a note, of a frame.
MAX_MESSAGE, MAX_NOTE, MAX_FRAME = 4_000, 1_000, 1_000

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

#: What people leave when they wrap code of this package around theirs: our frames say nothing about their error.
_OWN_FRAMES = str(Path(__file__).resolve().parents[1])

GROUP: type[BaseException] | None = getattr(builtins, "BaseExceptionGroup", None)  # new in Python 3.11


def type_name(kind: type) -> str:
    """The dotted path of a class, of a builtin one its name."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def text_of(error: BaseException) -> str:
    """``str(error)``, also of an exception whose ``__str__`` raises."""
    try:
        return str(error)
    except Exception as broken:  # the record must not be lost with it
        return f"(its text could not be read: {type(broken).__name__})"


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group; none of any other."""
    return error.exceptions if GROUP is not None and isinstance(error, GROUP) else ()  # type: ignore[attr-defined, no-any-return, unused-ignore]


def traceback_of(error: BaseException) -> str:
    """The traceback of an error, of what led to it, and of the members of groups."""
    try:
        return "".join(_Printing().lines(error, 0))
    except Exception as broken:  # as above
        return f"(the traceback could not be read: {type(broken).__name__})"


class _Printing:
    """Writes one traceback; ``left`` counts down the errors it may still show."""

    def __init__(self) -> None:
        self.left = ERRORS

    def lines(self, error: BaseException, depth: int) -> Iterator[str]:
        chain = _chain(error)[::-1]
        hidden = len(chain) - LINKS
        if hidden > 0:
            yield from self._links(chain[: LINKS // 2], depth)
            yield f"… {hidden:,} more exceptions that led to each other …\n\n"
            chain = chain[-LINKS // 2 :]
        yield from self._links(chain, depth)

    def _links(self, chain: list[tuple[BaseException, str]], depth: int) -> Iterator[str]:
        for error, led_to in chain:
            if self.left > 0:
                self.left -= 1
                yield from self._one(error, depth)
                yield led_to

    def _one(self, error: BaseException, depth: int) -> Iterator[str]:
        frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), limit=-FRAMES)
        own = [frame for frame in frames if not frame.filename.startswith(_OWN_FRAMES)] or list(frames)
        if own:
            yield "Traceback (most recent call last):\n"
            yield from (_cut(entry, MAX_FRAME) for entry in traceback.StackSummary.from_list(own).format())
        if isinstance(error, SyntaxError) and error.filename:
            yield f'  File "{error.filename}", line {error.lineno}\n    {_cut((error.text or "").strip(), MAX_FRAME)}\n'
        name, message = type_name(type(error)), _cut(mask(text_of(error)), MAX_MESSAGE)
        yield f"{name}: {message}\n" if message else f"{name}\n"
        yield from _notes(error)
        yield from self._members(members_of(error), depth)

    def _members(self, members: tuple[BaseException, ...], depth: int) -> Iterator[str]:
        shown = members[:MEMBERS] if depth < DEPTH else ()
        for number, member in enumerate(shown, start=1):
            if self.left <= 0:
                shown = shown[: number - 1]
                break
            yield f"  +---- {number} of {len(members):,} ----\n"
            for line in "".join(self.lines(member, depth + 1)).splitlines():
                yield f"  | {line}\n"
        if len(members) > len(shown):
            yield f"  … {len(members) - len(shown):,} more in the group …\n"


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """An error and what led to it, the latest first, each with the words between it and what it led to."""
    chain, seen, led_to = [(error, "")], {id(error)}, ""
    while len(chain) < MAX_CHAIN:
        before, led_to = error.__cause__, _CAUSE
        if before is None and not error.__suppress_context__:
            before, led_to = error.__context__, _CONTEXT
        if before is None or id(before) in seen:
            break
        seen.add(id(before))
        chain.append((before, led_to))
        error = before
    return chain


def _notes(error: BaseException) -> Iterator[str]:
    notes = getattr(error, "__notes__", None)
    if not isinstance(notes, (list, tuple)):
        return
    for note in notes[:NOTES]:
        text = note if isinstance(note, str) else f"({type(note).__name__} instead of text)"
        yield f"{_cut(mask(text), MAX_NOTE)}\n"
    if len(notes) > NOTES:
        yield f"… {len(notes) - NOTES:,} more notes …\n"


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text) - limit:,} characters cut …\n{text[-limit // 2 :]}"
