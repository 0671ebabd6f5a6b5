"""Whether the database is one of this release: which migrations are applied."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Applied:
    """Migrations of this release that are ``missing``, and ``newer`` ones that are applied and not of this release."""

    missing: list[str]
    newer: list[str]

    @property
    def is_exact(self) -> bool:
        return not self.missing and not self.newer


def applied_migrations(cursor: Any) -> Applied | None:
    """What ``django_migrations`` says; None where this login may not read it."""
    cursor.execute("SELECT pg_catalog.to_regclass('django_migrations') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return Applied(missing=list(_migrations()), newer=[])
    cursor.execute("SELECT pg_catalog.has_table_privilege(pg_catalog.to_regclass('django_migrations'), 'SELECT')")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute("SELECT name FROM django_migrations WHERE app = 'django_hookflow'")
    applied = {name for (name,) in cursor.fetchall()}
    # What is recorded of 0.0.x, under whatever name, comes before our last.
    return Applied(sorted(set(_migrations()) - applied), sorted(name for name in applied if name > last_migration()))


def last_migration() -> str:
    """The name of this release's last migration."""
    return _migrations()[-1]


@cache
def _migrations() -> tuple[str, ...]:
    files = (entry.name for entry in resources.files("django_hookflow.migrations").iterdir())
    return tuple(sorted(name.removesuffix(".py") for name in files if re.fullmatch(r"\d{4}_\w+\.py", name)))
