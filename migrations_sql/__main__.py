"""``python -m migrations_sql [--check]``"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import django
from django.conf import settings

#: The release whose SQL the files hold. Others may word the same statement differently.
PINNED_DJANGO = (5, 2)
FOLDER = Path(__file__).parent


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m migrations_sql", description="Writes every migration of django_hookflow as plain SQL."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not as it would be")
    checks = parser.parse_args(arguments).check
    if django.VERSION[:2] != PINNED_DJANGO:
        pinned = ".".join(map(str, PINNED_DJANGO))
        print(f"these files are generated with Django {pinned}, this is {django.get_version()}", file=sys.stderr)
        return 2
    _set_up_django()
    return check(folder) if checks else write(folder)


def write(folder: Path) -> int:
    wanted = _wanted_files()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in _generated_files(folder):
        if path.name not in wanted:
            path.unlink()
    print(f"{len(wanted)} files written to {folder}")
    return 0


def check(folder: Path) -> int:
    wanted = _wanted_files()
    found = {path.name: path.read_text(encoding="utf-8") for path in _generated_files(folder)}
    differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if not differing:
        return 0
    print(f"not as the migrations have it: {', '.join(differing)}\nrun: python -m migrations_sql", file=sys.stderr)
    return 1


def _wanted_files() -> dict[str, str]:
    from migrations_sql.collect import collected_files  # needs Django set up

    return dict(collected_files())


def _generated_files(folder: Path) -> list[Path]:
    """Those named as migrations are; what was written by hand has other names."""
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))


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
