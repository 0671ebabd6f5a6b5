"""What a step raised, as a record that can be kept for years, and the exception that a record makes again."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from types import BuiltinMethodType
from typing import Any

from django_hookflow.events import codec
from django_hookflow.exceptions import RecordedFailure
from django_hookflow.runtime.masking import MASKED, MAX_TEXT, has_secret, mask, storable
from django_hookflow.runtime.tracebacks import GROUP, members_of, text_of, traceback_of, type_name

__all__ = ["MASKED", "MAX_TEXT", "describe", "fingerprint", "mask", "rebuild"]

#: Bytes of an exception's arguments, and of its attributes, that are recorded; with more of them none are.
MAX_ARGS = 4_000
#: Members of a group that are recorded, how deep groups are recorded within each other, and characters of them in all.
MAX_MEMBERS, MAX_DEPTH, MAX_MEMBER_TEXT = 100, 5, 2 * MAX_TEXT
#: Characters of a class's dotted path.
MAX_TYPE = 300

#: Builtin exceptions with attributes that are among neither their arguments nor ``vars()``, and these.
_NAMED, _NAMES = (ImportError, AttributeError, NameError), ("name", "path")
#: Where an exception with a fixed text holds it.
_TEXT = "_recorded_text"


def describe(error: BaseException) -> dict[str, Any]:
    """What is recorded of an exception: JSON, masked and bounded.

    ``{"type": dotted class path, "message": str, "traceback": str}``, and where they are needed to rebuild it and can be
    recorded: ``"args"``, a list of its arguments as the codec encodes them (left out if one has to be masked);
    ``"attributes"``, an object with those of its attributes whose value the message shows anyway, or that are None,
    True or False; ``"exceptions"``, a list of the members of a group, each with these keys but no traceback.
    """
    described = _described(error, [MAX_MEMBER_TEXT], 0)
    traceback = mask(traceback_of(error))
    return {"type": described.pop("type"), "message": described.pop("message"), "traceback": traceback, **described}


def fingerprint(step_id: str | None, error_type: str, message: str) -> str:
    """16 hexadecimal digits that are the same for failures with the same cause, as far as their texts say so.

    They are the first of the SHA-256 of three lines, joined by LF, in UTF-8 (lone surrogates as ``backslashreplace``
    writes them): the step, the type, the message. They are stored for ever, so what follows never changes.

    The step is ``step_id``, or nothing for None; if it ends in ``]``, what stands between the bracket that this one
    closes and the end is left out (``mail[17]`` is ``mail[]``); brackets are paired from the end backwards.

    The message is rewritten in this order. Letters, digits and space are those of ASCII; everything else stands for itself.

    1. Text in ``"``, ``'`` or a backtick becomes ``#``: from a quote that follows neither a letter, a digit nor a
       backslash, to the next of the same kind before which no backslash stands unpaired.
    2. Of what is left, each longest run of letters, digits, ``_``, ``-`` and ``@`` becomes ``#`` if it has a digit or
       an ``@``, or has 8 characters or more all of which are among ``a`` to ``f`` in either case.
    3. ``#``, then one or more times one of ``. , : ; + / -`` with or without a space after it and ``#``, becomes ``#``.
    4. Each run of space, tab, LF, CR, FF and VT becomes one space; none is left at the beginning and the end.
    """
    text = _VARIABLE.sub(_placeholder, message)
    text = _SPACES.sub(" ", _LISTED.sub("#", text)).strip(" ")
    lines = f"{_without_key(step_id or '')}\n{error_type}\n{text}"
    return hashlib.sha256(lines.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def rebuild(recorded: dict[str, Any]) -> Exception:
    """The exception that :func:`describe` recorded: of the same class and text, with its arguments if they are recorded.

    No code of the class runs but its ``__str__``: neither ``__new__`` nor ``__init__``. Where that text differs, because
    it is made of what is not recorded, the exception is of a subclass with the recorded text. A RecordedFailure stands
    for a class that is not loaded or cannot be made.
    """
    name, message = str(recorded.get("type", "")), str(recorded.get("message", ""))
    try:
        kind: Any = _loaded(name)
        for candidate in (kind, _with_fixed_text(kind) if kind is not None else None):
            rebuilt = _made(candidate, recorded, message) if candidate is not None else None
            if rebuilt is not None and _has_text(rebuilt, message):
                return rebuilt
    except Exception:  # whatever is wrong with the class, the failure is the step's and not its rebuilding's
        return RecordedFailure(name, message)
    return RecordedFailure(name, message)


# Recording.


def _described(error: BaseException, room: list[int], depth: int) -> dict[str, Any]:
    """The description without a traceback; ``room`` counts down the characters that members may take."""
    message = mask(text_of(error))
    described: dict[str, Any] = {"type": storable(type_name(type(error))[:MAX_TYPE]), "message": message}
    try:
        described.update(_means_of_rebuilding(error, message, room, depth))
    except Exception:  # what a class makes of its attributes must not take the record down with it
        return described
    return described


def _means_of_rebuilding(error: BaseException, message: str, room: list[int], depth: int) -> Iterator[tuple[str, Any]]:
    members = members_of(error)
    args = [error.args[0]] if members else _arguments(error)
    if not (len(args) == 1 and type(args[0]) is str and args[0] == message):
        encoded = _encoded(args)
        if encoded is not None:
            yield "args", encoded
    attributes = _encoded(dict(_shown_attributes(error, message)))
    if attributes and "$dict" not in attributes:
        yield "attributes", attributes
    if members and depth < MAX_DEPTH:
        yield "exceptions", list(_described_members(members, room, depth))


def _described_members(members: tuple[BaseException, ...], room: list[int], depth: int) -> Iterator[dict[str, Any]]:
    for member in members[:MAX_MEMBERS]:
        if room[0] <= 0:
            return
        described = _described(member, room, depth + 1)
        room[0] -= len(json.dumps({**described, "exceptions": []}))
        yield described


def _arguments(error: BaseException) -> list[Any]:
    """What the builtin class that an exception derives from is made of: of an OSError also the file, which ``args`` lacks."""
    builtin: Any = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return list(builtin.__reduce__(error)[1])


def _shown_attributes(error: BaseException, message: str) -> Iterator[tuple[str, Any]]:
    """The attributes whose recording discloses nothing that the message does not."""
    named = {name: getattr(error, name, None) for name in _NAMES if isinstance(error, _NAMED)}
    yield from ((name, value) for name, value in named.items() if type(value) is str and value in message)
    for name, value in vars(error).items():
        is_shown = value is None or type(value) is bool or (_plain_text(value) or "\0") in message
        if is_shown and not name.startswith(("__", "$")):
            yield name, value


def _plain_text(value: Any) -> str:
    """A short text or number as a message would show it, else nothing."""
    if type(value) is str:
        return value
    if type(value) is int and value.bit_length() <= 64:
        return str(value)
    return f"{value:g}" if type(value) is float else ""


def _encoded(value: Any) -> Any:
    """``value`` as the codec encodes it, or None if it cannot be recorded, or not without a mask."""
    try:
        text = codec.encode(value, path="args", limit=MAX_ARGS)
        hidden = has_secret(text) or any(has_secret(part) for part in _texts(value))
    except Exception:  # a value that is no plain data may raise whatever it likes
        return None
    return None if hidden else json.loads(text)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value that the codec has accepted; bytes are read as Latin-1."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("latin-1")
    elif isinstance(value, dict):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _texts(item)


# Fingerprints.

_VARIABLE = re.compile(
    r"""(?<![A-Za-z0-9\\])(?:"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*'|`[^`\\]*(?:\\.[^`\\]*)*`)|[A-Za-z0-9_@-]+""",
    re.DOTALL,
)
_HAS_ID = re.compile(r"[0-9@]")
_LETTERS_OF_HEX = re.compile(r"[A-Fa-f]{8,}")
_LISTED = re.compile(r"#(?:[.,:;+/-] ?#)+")
_SPACES = re.compile(r"[ \t\n\r\f\v]+")


def _placeholder(found: re.Match[str]) -> str:
    text = found[0]
    is_variable = text[0] in "\"'`" or _HAS_ID.search(text) or _LETTERS_OF_HEX.fullmatch(text)
    return "#" if is_variable else text


def _without_key(step_id: str) -> str:
    if not step_id.endswith("]"):
        return step_id
    depth = 0
    for at in range(len(step_id) - 1, -1, -1):
        depth += {"]": 1, "[": -1}.get(step_id[at], 0)
        if depth == 0:
            return f"{step_id[:at]}[]"
    return step_id


# Rebuilding.


def _loaded(name: str) -> type[Exception] | None:
    """The exception class with this dotted path, if its module is loaded: a record imports nothing."""
    parts = name.split(".")
    for length in range(len(parts) - 1, -1, -1):
        found: Any = sys.modules.get(".".join(parts[:length]) or "builtins")
        if found is None:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found if isinstance(found, type) and issubclass(found, Exception) else None
    return None


def _made(kind: type[Exception], recorded: dict[str, Any], message: str) -> Exception | None:
    args = tuple(codec.untag(item) for item in recorded["args"]) if "args" in recorded else (message,)
    if GROUP is not None and issubclass(kind, GROUP):
        members = [rebuild(member) for member in recorded.get("exceptions", ())]
        args = (args[0], members or [RecordedFailure(recorded["type"], message)])
    made = _constructed(kind, args)
    attributes = {name: codec.untag(value) for name, value in recorded.get("attributes", {}).items()}
    for name in _NAMES if isinstance(made, _NAMED) else ():
        if name in attributes:
            setattr(made, name, attributes.pop(name))
    if made is not None:
        made.__dict__.update(attributes)
        if kind.__str__ is _fixed_text:
            made.__dict__[_TEXT] = message
    return made


def _constructed(kind: type[Exception], args: tuple[Any, ...]) -> Exception | None:
    """An instance by the means of the builtin class alone that holds its state."""
    builtins: list[Any] = [base for base in kind.__mro__ if base.__module__ == "builtins" and base is not object]
    for builtin in builtins:
        try:
            made: Exception = builtin.__new__(kind, *args)
        except TypeError:  # another of its bases decides how it is laid out
            continue
        try:
            builtin.__init__(made, *args)
        except Exception:  # without the arguments it wants, a UnicodeDecodeError for instance has but its text
            made.args = args
        return made
    return None


def _has_text(error: Exception, message: str) -> bool:
    text = text_of(error)
    return text == message or mask(text) == message


def _fixed_text(error: Exception) -> str:
    return str(error.__dict__[_TEXT])


@functools.lru_cache(maxsize=256)
def _with_fixed_text(kind: Any) -> type[Exception] | None:
    """A subclass with the text it is given; None where making a subclass would run code of the class."""
    if type(kind) is not type or not isinstance(kind.__init_subclass__, BuiltinMethodType):
        return None
    names = {"__str__": _fixed_text, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (kind,), names)
