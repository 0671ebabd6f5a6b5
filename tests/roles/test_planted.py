"""What roles.sql cannot take over as it is, and what a restore loses: both are named."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.doctor.diagnosis import run_process
from tests.e2e.database import Database
from tests.roles.dba import DBA, MIGRATIONS, ROLES

EVENT, PARTITION, HEAD = "django_hookflow_event", "django_hookflow_event_all", "django_hookflow_head"
FUNCTION = "CREATE FUNCTION planted(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN value; END'"
TRIGGER = "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"

#: What the application has made while it owned the tables, what is said of it, and how it goes again.
PLANTS = {
    "trigger planted (calls planted()) on django_hookflow_outbox": (
        f"{TRIGGER}; CREATE TRIGGER planted BEFORE INSERT ON django_hookflow_outbox FOR EACH ROW EXECUTE FUNCTION planted()",
        "DROP FUNCTION planted() CASCADE",
    ),
    f"trigger planted (calls planted()) on {PARTITION}": (
        f"{TRIGGER}; CREATE TRIGGER planted AFTER INSERT ON {PARTITION} EXECUTE FUNCTION planted()",
        "DROP FUNCTION planted() CASCADE",
    ),
    f"trigger planted on {HEAD}": (
        f"CREATE TRIGGER planted BEFORE UPDATE ON {HEAD} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        f"DROP TRIGGER planted ON {HEAD}",
    ),
    f"rule planted on {EVENT}": (
        f"CREATE RULE planted AS ON INSERT TO {EVENT} DO ALSO NOTHING",
        f"DROP RULE planted ON {EVENT}",
    ),
    f"policy planted on {EVENT}": (
        f"CREATE POLICY planted ON {EVENT} USING (false)",
        f"DROP POLICY planted ON {EVENT}",
    ),
    f"row security on {HEAD}": (
        f"ALTER TABLE {HEAD} FORCE ROW LEVEL SECURITY",
        f"ALTER TABLE {HEAD} NO FORCE ROW LEVEL SECURITY",
    ),
    f"inheriting table planted on {HEAD}": (f"CREATE TABLE planted () INHERITS ({HEAD})", "DROP TABLE planted"),
    f"default of column actor (calls planted(text)) on {PARTITION}": (
        f"{FUNCTION}; ALTER TABLE {PARTITION} ALTER COLUMN actor SET DEFAULT planted('me')",
        f"ALTER TABLE {PARTITION} ALTER COLUMN actor DROP DEFAULT; DROP FUNCTION planted",
    ),
    f"constraint planted (calls planted(text)) on {HEAD}": (
        f"{FUNCTION}; ALTER TABLE {HEAD} ADD CONSTRAINT planted CHECK (planted(run_id) <> '')",
        "DROP FUNCTION planted CASCADE",
    ),
    f"index planted (calls planted(text)) on {HEAD}": (
        f"{FUNCTION}; CREATE INDEX planted ON {HEAD} (planted(run_id))",
        "DROP FUNCTION planted CASCADE",
    ),
}


@pytest.fixture(scope="module")
def owned(dba: DBA) -> Iterator[tuple[Database, Database]]:
    """A database whose application owns the log, as it is without roles: as the superuser sees it, and as that login."""
    database = dba.create_database()
    web = dba.login("shop", database)
    database.execute(f"GRANT CREATE ON SCHEMA public TO {dba.role('shop')}")
    dba.apply(web, *MIGRATIONS)
    yield database, web
    database.execute(f"REVOKE ALL ON SCHEMA public FROM {dba.role('shop')}")


@pytest.mark.parametrize("what", PLANTS)
def test_what_the_application_planted_is_refused(dba: DBA, owned: tuple[Database, Database], what: str) -> None:
    database, web = owned
    plant, drop = PLANTS[what]
    web.execute(plant)
    refused = dba.try_to_apply(database, ROLES)
    web.execute(drop)
    assert refused.returncode != 0
    assert f"the tables of the log have objects that do not belong to {dba.role('owner')}: {what}\n" in refused.stderr
    assert "HINT:  Find out who created them" in refused.stderr
    owners = database.rows(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relname LIKE 'django%%hookflow%%'"
    )
    assert owners == [(dba.role("shop"),)]


def test_everything_else_is_taken_over(dba: DBA) -> None:
    database = dba.create_database()
    shop = dba.login("shop", database)
    database.execute(f"GRANT CREATE ON SCHEMA public TO {dba.role('shop')}")
    dba.apply(shop, *MIGRATIONS)
    shop.execute("CREATE TABLE orders (run uuid REFERENCES django_hookflow_workflowrun)")
    dba.apply(database, ROLES)
    assert errors_of(database) == {}


def test_a_restore_without_privileges_is_an_error_until_they_are_given_again(dba: DBA) -> None:
    """PostgreSQL lets everybody call what nothing is said of: functions that run as the owner would be open to all."""
    restored = dba.restore_without_privileges(dba.create_guarded().database)
    nobody = dba.login("nobody", restored)
    for login in (restored, nobody):
        seen = errors_of(login)["django_hookflow.E030"]
        for function in ("hookflow_append", "hookflow_redact", "hookflow_start"):
            assert f" {function}(" in seen
        assert "hookflow_retire" not in seen
    dba.apply(restored, ROLES)
    assert errors_of(restored) == {}


def test_a_function_that_a_migration_replaced_waits_for_roles(dba: DBA) -> None:
    guarded = dba.create_guarded()
    guarded.database.execute("ALTER FUNCTION hookflow_start SECURITY INVOKER RESET search_path")
    seen = errors_of(guarded.database)["django_hookflow.E025"]
    assert "it runs as its caller, unlike the other functions in roles.sql" in seen
    dba.apply(guarded.database, ROLES)
    assert errors_of(guarded.database) == {}


def test_a_login_that_only_reads_finds_everything(dba: DBA) -> None:
    guarded = dba.create_guarded()
    assert errors_of(guarded.analyst) == {}
    guarded.database.execute(
        "CREATE RULE planted AS ON DELETE TO django_hookflow_head DO INSTEAD NOTHING;"
        "ALTER FUNCTION hookflow_append PARALLEL SAFE; ALTER VIEW hookflow_operations RENAME COLUMN actor TO who"
    )
    seen = errors_of(guarded.analyst)
    assert seen.keys() == {"django_hookflow.E025", "django_hookflow.E027"}
    assert "function hookflow_append(" in seen["django_hookflow.E025"]
    assert "view hookflow_operations (different query)" in seen["django_hookflow.E025"]


def test_a_log_in_a_schema_whose_name_is_quoted(dba: DBA) -> None:
    database = dba.create_database()
    database.execute('CREATE SCHEMA "Flow"')
    dba.apply(database, *MIGRATIONS, ROLES, schema='"Flow"')
    there = Database(make_conninfo(database.conninfo, options='-c search_path="Flow"'))
    assert errors_of(there) == {}
    database.execute(
        'DROP VIEW "Flow".hookflow_operations; ALTER TABLE "Flow".django_hookflow_event DISABLE TRIGGER ALL'
    )
    assert errors_of(there).keys() == {"django_hookflow.E021", "django_hookflow.E026"}


def errors_of(database: Database) -> dict[str, str]:
    """What ``hookflow_doctor`` calls an error, in a process that has this login."""
    with tempfile.TemporaryDirectory() as name:
        done = run_process(
            *("--json", "--offline", "--only", "schema", "guards", "roles"),
            folder=Path(name),
            environment=dict(os.environ),
            settings=f"import json; DATABASES = {{'default': json.loads({database.settings()!r})}}",
        )
    assert done.stderr == ""
    findings = json.loads(done.stdout)["findings"]
    return {finding["code"]: finding["seen"] for finding in findings if finding["level"] == "error"}
