"""The areas that look at the database as such: ``database``, ``schema``, ``guards``, ``roles``, ``partitions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
from django.db import Error, connections

from django_hookflow.checks.protection import check_protection
from django_hookflow.checks.retention import check_partitions
from django_hookflow.doctor.findings import Finding, error, from_checks, info, ok
from django_hookflow.events.database import alias, cursor, first_line
from django_hookflow.installed import Applied, applied_migrations

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

CONNECT_SECONDS = 5
UNREACHABLE = "database.unreachable"
MIGRATE = "Run manage.py migrate django_hookflow, or apply the files in migrations_sql."
#: What the area ``guards`` says of the objects in the database; ``schema`` says the rest.
OF_GUARDS = {"django_hookflow.E021", "django_hookflow.E027"}


def look_at_database(visit: Visit) -> Iterator[Finding]:
    connection = connections[alias()]
    if connection.vendor != "postgresql":
        way_out = "See E006 of manage.py check: the event log needs PostgreSQL."
        yield error(UNREACHABLE, f"The database {alias()!r} is {connection.display_name}.", way_out)
        return
    try:
        _connect()
        with cursor() as c:
            c.execute("SELECT current_setting('server_version'), current_user, current_database(), pg_is_in_recovery()")
            version, login, name, is_standby = c.fetchone()
    except Error as failure:
        yield error(
            UNREACHABLE,
            f"The database {alias()!r} cannot be reached: {first_line(failure)}.",
            "Check DATABASES in the settings, that the server is running, and that this machine is allowed to connect "
            "to it.",
        )
        return
    if is_standby:
        way_out = "Point DATABASES or the database router to the primary."
        yield error("database.standby", f"The database {name} is a read-only standby.", way_out)
    yield ok("database.answers", f"Connected to PostgreSQL {version}, database {name}, as {login}.")


def look_at_schema(visit: Visit) -> Iterator[Finding]:
    with cursor() as c:
        applied = applied_migrations(c)
    if applied is None:  # with roles, a reader of the log has no business there
        yield info(
            "schema.migrations_not_readable",
            "This login cannot read django_migrations, so the applied migrations could not be checked.",
            "Run hookflow_doctor --only schema with the credentials used for migrations.",
        )
    elif not applied.is_exact:
        yield from _describe_migrations(applied)
        return
    so = "functions, views and tables match this release."
    fine = (
        ok("schema.migrated", f"All migrations are applied; {so}")
        if applied
        else ok("schema.installed", so.capitalize())
    )
    messages = [message for message in visit.objects if message.id not in OF_GUARDS]
    yield from from_checks(messages, otherwise=fine)


def look_at_guards(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("guards.on", "Every table of the log has its guards, and no unknown triggers or functions were found.")
    yield from from_checks([m for m in visit.objects if m.id in OF_GUARDS], otherwise=fine)


def look_at_roles(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("roles.silenced", "No issues.")
    yield from from_checks(check_protection(databases=[alias()]), otherwise=fine)


def look_at_partitions(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("partitions.fine", "Partitions exist for the coming months.")
    yield from from_checks(check_partitions(databases=[alias()]), otherwise=fine)


def _connect() -> None:
    """Tries to connect for some seconds and not for the minutes that a server which is silent may take."""
    connection = connections[alias()]
    if connection.connection is None:
        with connection.wrap_database_errors:
            psycopg.connect(**{"connect_timeout": CONNECT_SECONDS, **connection.get_connection_params()}).close()


def _need_log() -> None:
    """Raises ProgrammingError where there is no log, of which the checks say nothing: ``migrate`` runs them, too."""
    with cursor() as c:
        c.execute("SELECT 'django_hookflow_event'::regclass")


def _describe_migrations(applied: Applied) -> Iterator[Finding]:
    if applied.missing:
        yield error("schema.not_migrated", f"Unapplied migrations: {', '.join(applied.missing)}.", MIGRATE)
    if applied.newer:
        yield info(
            "schema.newer",
            "The database has migrations from a newer release, so its objects were not compared: "
            f"{', '.join(applied.newer)}.",
            "During a deploy there is nothing to do: older code works with a newer schema. Otherwise, upgrade the "
            "package.",
        )
