"""``python -m migrations_sql [--installed] [--check]``"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import django
from django.conf import settings

#: The release whose SQL the files hold. Others may word the same statement differently.
PINNED_DJANGO = (5, 2)
FOLDER = Path(__file__).parent
INSTALLED = FOLDER.parent / "django_hookflow" / "sql" / "installed"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m migrations_sql",
        description="Writes the migrations of django_hookflow that are made from templates, and every migration as plain SQL.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not as it would be")
    parser.add_argument(
        "--installed",
        action="store_true",
        help="instead, what the migrations install: django_hookflow/sql/installed, from a database that is made for it",
    )
    options = parser.parse_args(arguments)
    if django.VERSION[:2] != PINNED_DJANGO:
        pinned = ".".join(map(str, PINNED_DJANGO))
        print(f"these files are generated with Django {pinned}, this is {django.get_version()}", file=sys.stderr)
        return 2
    _set_up_django()
    # Migrations first: the others are made of them.
    parts = [INSTALLED_OBJECTS] if options.installed else [EXPANDED, MIRRORS]
    return max([part.check() if options.check else part.write() for part in parts])


@dataclass(frozen=True)
class Generated:
    """Files that are generated into a folder, which may hold others that were written by hand.

    Those that match ``pattern`` and are not wanted go.
    """

    folder: Path
    pattern: str | None
    source: str
    command: str
    wanted: Callable[[], dict[str, str]]

    def write(self, folder: Path | None = None) -> int:
        folder = folder or self.folder
        wanted = self.wanted()
        for name, text in wanted.items():
            (folder / name).write_text(text, encoding="utf-8")
        for name in self._there(folder, wanted) - wanted.keys():
            (folder / name).unlink()
        print(f"{len(wanted)} files written to {folder}")
        return 0

    def check(self, folder: Path | None = None) -> int:
        folder = folder or self.folder
        wanted = self.wanted()
        found = {name: (folder / name).read_text(encoding="utf-8") for name in self._there(folder, wanted)}
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if not differing:
            return 0
        print(f"not as {self.source} it: {', '.join(differing)}\nrun: {self.command}", file=sys.stderr)
        return 1

    def _there(self, folder: Path, wanted: dict[str, str]) -> set[str]:
        named = {name for name in wanted if (folder / name).exists()}
        return named | {path.name for path in (folder.glob(self.pattern) if self.pattern else ())}


def _expanded() -> dict[str, str]:
    from migrations_sql.templates import expanded_files

    return expanded_files()


def _mirrors() -> dict[str, str]:
    from migrations_sql.collect import collected_files  # needs Django set up

    return dict(collected_files())


def _installed_objects() -> dict[str, str]:
    from migrations_sql.installed import installed_files  # needs Django set up

    return installed_files()


#: Files of migrations are named as those are; what was written by hand has other names.
MIRRORS = Generated(FOLDER, "[0-9][0-9][0-9][0-9]_*.sql", "the migrations have", "python -m migrations_sql", _mirrors)
EXPANDED = Generated(
    FOLDER.parent / "django_hookflow" / "migrations",
    None,
    "its template and the catalogue of events have",
    "python -m migrations_sql",
    _expanded,
)
INSTALLED_OBJECTS = Generated(
    INSTALLED, "*.sql", "the migrations have", "python -m migrations_sql --installed", _installed_objects
)


def _set_up_django() -> None:
    """Only as much of a project as migrations need. A process that has one of its own (the tests) keeps it."""
    if not settings.configured:
        settings.configure(
            INSTALLED_APPS=["pgtrigger", "django_hookflow"],
            DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "never connected to"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            USE_TZ=True,
        )
        django.setup()


if __name__ == "__main__":
    sys.exit(main())
