"""What the migrations of this release install, read from their own files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

_MADE = re.compile(r"^ *CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (\w+) ?\(", re.MULTILINE)
_DROPPED = re.compile(r"^ *DROP (?:FUNCTION|PROCEDURE) (?:IF EXISTS )?(\w+)", re.MULTILINE)
_BODY = re.compile(
    r"^CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (\w+) ?\((?:(?!\$).)*? AS (\$\w*\$)(.*?)\2",
    re.MULTILINE | re.DOTALL,
)
#: In these, functions are put together from texts, or edited in place, so that no file says what their bodies are.
_DO = re.compile(r"^DO (\$\w*\$).*?\1", re.MULTILINE | re.DOTALL)
#: How they name such a function: in quotes, as what is edited, or after what makes it. Others they only call.
_NAMED = re.compile(r"(?:'|FUNCTION |PROCEDURE )(\w+)(?=[' (])")


@cache
def migrations() -> tuple[str, ...]:
    """The names of the migrations, in order."""
    return tuple(sorted(name.removesuffix(".py") for name in _files() if re.fullmatch(r"\d{4}_\w+\.py", name)))


@cache
def functions() -> frozenset[str]:
    """The names of the functions there are once all migrations are applied."""
    names: set[str] = set()
    for text in _texts():
        names -= set(_DROPPED.findall(text))
        names |= {name for name in _MADE.findall(text) if not name.endswith("_")}
    return frozenset(names)


@cache
def bodies() -> dict[str, str]:
    """What the functions consist of, to the letter, as far as the files say so; by name."""
    found: dict[str, str] = {}
    for text in _texts():
        put_together = {name for block in _DO.finditer(text) for name in _NAMED.findall(block.group())}
        found = {name: body for name, body in found.items() if name not in put_together}
        found |= {name: body for name, _, body in _BODY.findall(_DO.sub("", text))}
    return {name: body for name, body in found.items() if name in functions()}


def _texts() -> Iterator[str]:
    folder = resources.files("django_hookflow.migrations")
    for name in sorted(name for name in _files() if name.endswith(".sql")):
        yield folder.joinpath(name).read_text(encoding="utf-8")


def _files() -> Iterator[str]:
    return (entry.name for entry in resources.files("django_hookflow.migrations").iterdir())
