"""What is installed in the database, put into words: :mod:`django_hookflow.installed` compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db import transaction

from django_hookflow.checks.messages import error, warning
from django_hookflow.checks.server import is_looked_at
from django_hookflow.events.database import alias, cursor
from django_hookflow.installed import Deviation, Kind, applied_migrations, compare

if TYPE_CHECKING:
    from collections.abc import Collection

NAMED = 10


def check_objects(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """W020, E021, E025 to E028: what is installed is what this release installs.

    No errors where the migrations applied are not those of this release: ``migrate`` runs this before it changes anything,
    and a deploy runs it with old code on a newer schema.
    """
    if not is_looked_at(databases):
        return []
    with transaction.atomic(using=alias()), cursor() as c:
        applied = applied_migrations(c)
        found = compare(c) if applied is None or applied.is_exact else []
        transaction.set_rollback(True, using=alias())
    missing = [describe_missing_migrations(applied.missing)] if applied and applied.missing else []
    return [*missing, *describe(found)]


def describe_missing_migrations(missing: list[str]) -> CheckMessage:
    """W020: this release finds what it needs in the database only after these."""
    return warning(
        "W020",
        f"The database {alias()!r} lacks migrations of django-hookflow: {', '.join(missing)}.",
        "Run manage.py migrate before anything is triggered or delivered.",
    )


def describe(found: Iterable[Deviation]) -> Iterator[CheckMessage]:
    """A message for each table without a guard, and one for all else of a kind."""
    by_kind: dict[Kind, list[Deviation]] = {}
    for deviation in found:
        by_kind.setdefault(deviation.kind, []).append(deviation)
    yield from map(_describe_missing_guard, by_kind.get("unguarded", []))
    if differing := by_kind.get("differs"):
        yield error(
            "E025",
            f"Objects of django-hookflow that differ from this release: {_name(differing)}.",
            _restore(differing),
        )
    if missing := by_kind.get("missing"):
        yield error(
            "E026",
            f"Objects of django-hookflow that are missing: {_name(missing)}.",
            f"A dump may have been restored in part, or search_path names another schema. {_restore(missing)}",
        )
    if planted := by_kind.get("planted"):
        yield error(
            "E027",
            f"Objects on the tables of django-hookflow, or beside its functions, that are not its own: {_name(planted)}.",
            "Find out who made them, and why, then drop them: they see and can change what the log's functions do, with "
            "the rights of its owner.",
        )
    if shadows := by_kind.get("shadowed"):
        yield error(
            "E028",
            f"The search_path of this login puts other objects in front of those of django-hookflow: {_name(shadows)}.",
            "Find out who made them, and why, then drop them; or set a search_path that names the schema of the log alone "
            "(ALTER ROLE … SET search_path). Nobody but the owner of the log should be able to create objects there.",
        )
    if uncompared := by_kind.get("uncompared"):
        yield checks.Info(
            f"These could not be compared with this release of django-hookflow: {_name(uncompared)}.",
            hint="On this version of PostgreSQL that takes a temporary view: ask as a login that may make one, on the "
            "primary (GRANT TEMPORARY ON DATABASE …).",
            id="django_hookflow.I025",
        )


def _describe_missing_guard(deviation: Deviation) -> CheckMessage:
    table = deviation.what
    restored = f"run {_path(deviation.file)} as the owner of the log" if deviation.file else _OF_A_PARTITION
    return error(
        "E021",
        f"Nothing refuses {deviation.detail} on {table}: its guard trigger is missing, or is not ENABLE ALWAYS.",
        f'See \\d "{table}" in psql. If the trigger is there: ALTER TABLE {table} ENABLE ALWAYS TRIGGER <name>. If it '
        f"is not: {restored}.",
    )


_OF_A_PARTITION = (
    "a partition has the row trigger of django_hookflow_event, which comes back with that table's, and needs a TRUNCATE "
    "guard of its own, which migrations_sql/README.md shows"
)


def _name(found: list[Deviation]) -> str:
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(map(str, found[:NAMED])) + more


def _restore(found: list[Deviation]) -> str:
    files = list(dict.fromkeys(_path(deviation.file) for deviation in found if deviation.file))
    again = "migrations_sql/roles.sql again where there are roles"
    if not files:
        return f"Find out who changed them, and why, then restore them from a backup and run {again}."
    more = " and so on" if len(files) > NAMED else ""
    tables = " A table comes back from a backup alone." if any(each.what.startswith("table ") for each in found) else ""
    return (
        f"Find out who changed them, and why, then run as the owner of the log {', '.join(files[:NAMED])}{more} of the "
        f"installed package, and {again}.{tables}"
    )


def _path(file: str) -> str:
    return f"django_hookflow/sql/installed/{file}"
