"""The guide to the log lists every type of event and every fact, as the catalogue has them."""

from __future__ import annotations

import re
from pathlib import Path

import django_hookflow
from django_hookflow.events.types import CATALOGUE, EventType

GUIDE = (Path(django_hookflow.__file__).parent / "guides" / "reading_the_log.md").read_text("utf-8")


def table_under(heading: str) -> list[list[str]]:
    """The rows of the first table in the section, without its head."""
    section = re.split(r"^## ", GUIDE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def quoted(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def row_of(type_: EventType) -> list[str]:
    status = (type_.status,) if type_.status else ()
    return [f"`{type_.name}`", type_.meaning, quoted(type_.facts), quoted(type_.payload), quoted(status)]


def test_the_events_are_those_of_the_catalogue() -> None:
    assert table_under("Events") == [row_of(type_) for type_ in CATALOGUE.values()]


def test_every_fact_is_explained_once_in_order() -> None:
    facts = {fact for type_ in CATALOGUE.values() for fact in type_.facts}
    rows = table_under("Facts")
    assert [name for name, _ in rows] == [f"`{fact}`" for fact in sorted(facts)]
    assert all(meaning for _, meaning in rows)
