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
        f"The database {alias()!r} has unapplied migrations of django-hookflow: {', '.join(missing)}.",
        "Run manage.py migrate before you trigger workflows or accept deliveries.",
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
            f"Database objects of django-hookflow differ from this release: {_name(differing)}.",
            _restore(differing),
        )
    if missing := by_kind.get("missing"):
        yield error(
            "E026",
            f"Database objects of django-hookflow are missing: {_name(missing)}.",
            f"A dump may have been only partly restored, or search_path points to another schema. {_restore(missing)}",
        )
    if planted := by_kind.get("planted"):
        yield error(
            "E027",
            f"Unknown objects on the tables of django-hookflow or among its functions: {_name(planted)}.",
            "Find out who created them and why, then drop them: they can see and change what the log's functions do, "
            "with the privileges of the log's owner.",
        )
    if shadows := by_kind.get("shadowed"):
        yield error(
            "E028",
            f"Because of this login's search_path, other objects hide those of django-hookflow: {_name(shadows)}.",
            "Find out who created them and why, then drop them, or set search_path to the log's schema only (ALTER "
            "ROLE … SET search_path). Only the owner of the log should be able to create objects in that schema.",
        )
    if uncompared := by_kind.get("uncompared"):
        yield checks.Info(
            f"Some objects could not be compared with this release of django-hookflow: {_name(uncompared)}.",
            hint=(
                "On this version of PostgreSQL, the comparison needs a temporary view. Run the check on the primary "
                "with a login that can create one (GRANT TEMPORARY ON DATABASE …)."
            ),
            id="django_hookflow.I025",
        )


def _describe_missing_guard(deviation: Deviation) -> CheckMessage:
    table = deviation.what
    restored = f"run {_path(deviation.file)} as the owner of the log" if deviation.file else _OF_A_PARTITION
    return error(
        "E021",
        f"{table} is not protected from {deviation.detail}: its guard trigger is missing or not set to ENABLE ALWAYS.",
        f'See \\d "{table}" in psql. If the trigger exists: ALTER TABLE {table} ENABLE ALWAYS TRIGGER <name>. If it '
        f"does not: {restored}.",
    )


_OF_A_PARTITION = (
    "a partition inherits the row trigger of django_hookflow_event, so restore that table's trigger, and it needs its "
    "own TRUNCATE guard, as shown in migrations_sql/README.md"
)


def _name(found: list[Deviation]) -> str:
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(map(str, found[:NAMED])) + more


def _restore(found: list[Deviation]) -> str:
    files = list(dict.fromkeys(_path(deviation.file) for deviation in found if deviation.file))
    again = "migrations_sql/roles.sql again if you use roles"
    if not files:
        return f"Find out who changed them and why, then restore them from a backup and run {again}."
    more = " and so on" if len(files) > NAMED else ""
    tables = (
        " Tables can only be restored from a backup." if any(each.what.startswith("table ") for each in found) else ""
    )
    return (
        f"Find out who changed them and why. Then, as the owner of the log, run {', '.join(files[:NAMED])}{more} from "
        f"the installed package, and {again}.{tables}"
    )


def _path(file: str) -> str:
    return f"django_hookflow/sql/installed/{file}"
