"""What this release installs, from ``django_hookflow/sql/installed``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from django_hookflow.installed.definitions import Relation, Routine, parse

_CALLED = re.compile(r"\b([a-z_][a-z0-9_]*)\s*\(")


@dataclass(frozen=True)
class Shipped:
    """``routines`` by identity, ``relations`` by name; ``files`` has the name of the file that makes each of them."""

    routines: dict[str, Routine]
    relations: dict[str, Relation]
    files: dict[str, str]

    @property
    def names(self) -> list[str]:
        """Of the functions, an overloaded one once."""
        return sorted({routine.name for routine in self.routines.values()})

    @property
    def called(self) -> list[str]:
        """Whatever stands before a parenthesis in a text of ours: functions, and a few words that are none."""
        texts = [routine.text for routine in self.routines.values()] + [view.query for view in self.relations.values()]
        return sorted({name for text in texts for name in _CALLED.findall(text.lower())})


@cache
def shipped() -> Shipped:
    """What the files hold."""
    found = Shipped({}, {}, {})
    folder = resources.files("django_hookflow.sql").joinpath("installed")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        made = parse(file.read_text(encoding="utf-8"))
        if isinstance(made, Routine):
            found.routines[made.identity] = made
            found.files[made.identity] = file.name
        else:
            found.relations[made.name] = made
            found.files[made.name] = file.name
    return found


def function_names() -> list[str]:
    """The names of the functions and procedures that this release installs."""
    return shipped().names


def rendered(routines: list[Routine], relations: list[Relation]) -> dict[str, str]:
    """The files, by name: ``NAME.sql``, and for an overloaded function one for each list of types, ``NAME--TYPES.sql``."""
    names = [routine.name for routine in routines]
    files = {
        f"{_file_stem(routine) if names.count(routine.name) > 1 else routine.name}.sql": routine.render()
        for routine in routines
    }
    return files | {f"{relation.name}.sql": relation.render() for relation in relations}


def _file_stem(routine: Routine) -> str:
    types = re.sub(r"\W+", "-", routine.identity.partition("(")[2].replace("[]", " array")).strip("-")
    return f"{routine.name}--{types or 'nothing'}"
