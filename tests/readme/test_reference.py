"""The tables of the reference have every command, exception and check, in order, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import django_hookflow
from django_hookflow import exceptions
from tests.readme.snippets import GUIDES

PACKAGE = Path(django_hookflow.__file__).parent


def names_under(heading: str) -> list[str]:
    """The first column of the section's table."""
    source = (GUIDES / "reference.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", source.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^\| `(\w+)` \| \S", section, re.MULTILINE)


def test_every_command() -> None:
    commands = (path.stem for path in (PACKAGE / "management" / "commands").glob("*.py"))
    assert names_under("Commands") == sorted(name for name in commands if name != "__init__")


def test_every_exception() -> None:
    assert names_under("Exceptions") == sorted(exceptions.__all__)


def test_every_check() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (PACKAGE / "checks").glob("*.py"))
    used = set(re.findall(r'"(?:django_hookflow\.)?([EWI]0\d\d)"', "".join(sources)))
    assert names_under("Checks") == sorted(used)
