"""The areas that look at the database as such: ``database``, ``schema``, ``guards``, ``roles``, ``partitions``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
from django.db import Error, connections
from django.db.migrations.recorder import MigrationRecorder

from django_hookflow import checks
from django_hookflow.doctor import installed
from django_hookflow.doctor.findings import Finding, error, from_check, from_checks, info, ok
from django_hookflow.events.database import alias, cursor
from django_hookflow.predecessor import check_predecessor
from django_hookflow.retention.checks import check_partitions

if TYPE_CHECKING:
    from django_hookflow.doctor.visit import Visit

CONNECT_SECONDS = 5
UNREACHABLE = "database.unreachable"
MIGRATE = "Run manage.py migrate django_hookflow, or the files in migrations_sql."
NAMED = 10


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
            f"The database {alias()!r} cannot be reached: {first_line(failure)}",
            "Check DATABASES in the settings, that the server runs and that this machine may connect to it.",
        )
        return
    if is_standby:
        way_out = "Point DATABASES, or the router, at the primary."
        yield error("database.standby", f"The database {name} is a standby: nothing can be written to it.", way_out)
    yield ok("database.answers", f"PostgreSQL {version} answers, database {name}, login {login}.")


def look_at_schema(visit: Visit) -> Iterator[Finding]:
    with cursor() as c:
        c.execute("SELECT has_table_privilege(to_regclass('django_migrations'), 'SELECT')")
        may_read = c.fetchone()[0]
    if may_read is False:  # with roles, a reader of the log has no business there
        yield info(
            "schema.migrations_not_readable",
            "This login may not read django_migrations: which migrations are applied was not looked at.",
            "Run hookflow_doctor --only schema with the credentials that migrate.",
        )
        yield from _compare_functions(there=_functions_there(), letters=False)
        return
    earlier = [message for message in check_predecessor(databases=[alias()]) if not message.is_silenced()]
    if earlier:
        yield from map(from_check, earlier)
        return
    missing, newer = _compare_migrations()
    if missing:
        yield error("schema.not_migrated", f"Migrations that are not applied: {', '.join(missing)}.", MIGRATE)
    if newer:
        yield info(
            "schema.newer",
            f"The database has migrations of a newer release: {', '.join(newer)}.",
            "Nothing to do while a deploy is under way: older code runs on a newer schema. Otherwise upgrade the package.",
        )
    if not missing and not newer:
        yield from _compare_functions(there=_functions_there(), letters=True)


def look_at_guards(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("guards.on", "Guards refuse changes on every table of the log.")
    yield from from_checks(checks.check_database(databases=[alias()]), otherwise=fine)


def look_at_roles(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("roles.silenced", "Nothing to say.")
    yield from from_checks(checks.check_protection(databases=[alias()]), otherwise=fine)


def look_at_partitions(visit: Visit) -> Iterator[Finding]:
    _need_log()
    fine = ok("partitions.fine", "The log has partitions for the time to come.")
    yield from from_checks(check_partitions(databases=[alias()]), otherwise=fine)


def first_line(failure: BaseException) -> str:
    """A database error without its details: those may quote rows."""
    return (str(failure).strip() or type(failure).__name__).splitlines()[0].rstrip(".") + "."


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


def _compare_migrations() -> tuple[list[str], list[str]]:
    """Those of this release that are not applied, and those that are applied and not of this release."""
    recorded = MigrationRecorder(connections[alias()]).applied_migrations()
    applied = {name for app, name in recorded if app == "django_hookflow"}
    known = set(installed.migrations())
    return sorted(known - applied), sorted(applied - known)


def _functions_there() -> dict[str, list[str]]:
    """What the functions consist of, by name; several texts where a name is overloaded."""
    with cursor() as c:
        c.execute(
            "SELECT proname, array_agg(prosrc) FROM pg_proc"
            " WHERE proname = ANY(%s) AND pg_function_is_visible(oid) GROUP BY proname",
            [list(installed.functions())],
        )
        return dict(c.fetchall())


def _compare_functions(there: dict[str, list[str]], *, letters: bool) -> Iterator[Finding]:
    """Whether all functions are there, and with ``letters`` whether they are what the migrations made."""
    missing = sorted(installed.functions() - there.keys())
    changed = sorted(
        name for name, body in installed.bodies().items() if letters and body not in there.get(name, [body])
    )
    if missing:
        yield error(
            "schema.function_missing",
            f"Functions that the migrations made are gone: {_some(missing)}.",
            "A dump may have been restored in part, or search_path names another schema. Restore them from "
            "migrations_sql or from a backup.",
        )
    if changed:
        yield error(
            "schema.function_changed",
            f"Functions are not what the migrations made: {_some(changed)}.",
            "Find out who replaced them, and why, then restore them from migrations_sql or from a backup.",
        )
    if not missing and not changed:
        seen = "Every migration is applied, and the functions are what they made."
        yield ok("schema.migrated", seen) if letters else ok("schema.functions", "The functions are there.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
