"""System checks of the log's database, on a real one."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_hookflow.checks.server import describe_old_server


def find() -> list[CheckMessage]:
    return run_checks(tags=["database"], databases=["default"])


def find_earlier() -> list[CheckMessage]:
    """Of tables that are in the way; that they stand in front of ours as well is E028's."""
    return [message for message in find() if message.id == "django_hookflow.E024"]


def run_sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db
def test_a_migrated_database_has_nothing_to_say() -> None:
    assert find() == []


@pytest.mark.django_db
def test_without_databases_nothing_is_asked() -> None:
    with CaptureQueriesContext(connection) as queries:
        run_checks()
        run_checks(tags=["django_hookflow"], include_deployment_checks=True)

    assert len(queries) == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    "state", ["DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL", "ENABLE REPLICA TRIGGER pgtrigger_guard_23500"]
)
def test_a_guard_that_does_not_always_hold_is_found(state: str) -> None:
    run_sql(f"ALTER TABLE django_hookflow_event_all {state}")

    found = find()

    assert {message.id for message in found} == {"django_hookflow.E021"}
    assert "Nothing refuses UPDATE and DELETE on django_hookflow_event_all" in found[0].msg
    assert "ENABLE ALWAYS TRIGGER" in (found[0].hint or "")


@pytest.mark.django_db
def test_a_missing_truncate_guard_is_found() -> None:
    run_sql("DROP TRIGGER django_hookflow_event_all_truncate ON django_hookflow_event_all")

    assert [message.msg.split(":")[0] for message in find()] == [
        "Nothing refuses TRUNCATE on django_hookflow_event_all"
    ]


@pytest.mark.django_db
def test_a_missing_guard_of_the_checkpoints_is_found() -> None:
    run_sql("ALTER TABLE django_hookflow_checkpoint DISABLE TRIGGER ALL")

    assert [message.msg.split(":")[0] for message in find()] == [
        "Nothing refuses UPDATE and DELETE on django_hookflow_checkpoint",
        "Nothing refuses TRUNCATE on django_hookflow_checkpoint",
    ]


@pytest.mark.django_db
def test_a_partition_without_a_truncate_guard_is_found_by_its_name() -> None:
    run_sql("ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all")
    run_sql('CREATE TABLE "Odd name" PARTITION OF django_hookflow_event FOR VALUES FROM (MINVALUE) TO (MAXVALUE)')

    assert [message.msg.split(":")[0] for message in find()] == ['Nothing refuses TRUNCATE on "Odd name"']


@pytest.mark.django_db
def test_a_trigger_of_somebody_else_does_not_count_as_a_guard() -> None:
    run_sql("DROP TRIGGER django_hookflow_event_all_truncate ON django_hookflow_event_all")
    run_sql("CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    run_sql(
        "CREATE TRIGGER audit BEFORE TRUNCATE ON django_hookflow_event_all EXECUTE FUNCTION audit();"
        "ALTER TABLE django_hookflow_event_all ENABLE ALWAYS TRIGGER audit"
    )

    assert [message.id for message in find()] == ["django_hookflow.E021", "django_hookflow.E027"]


@pytest.mark.django_db
def test_a_database_of_another_release_is_not_compared() -> None:
    """``migrate`` runs the checks before it changes anything, a deploy runs old code on a newer schema."""
    run_sql("DROP FUNCTION hookflow_now; ALTER TABLE django_hookflow_event DISABLE TRIGGER ALL")
    assert {message.id for message in find()} >= {"django_hookflow.E021", "django_hookflow.E026"}

    run_sql("INSERT INTO django_migrations (app, name, applied) VALUES ('django_hookflow', '9999_later', now())")
    assert find() == []


@pytest.mark.django_db
def test_looking_changes_nothing_of_the_session() -> None:
    run_sql("SET LOCAL search_path = public, pg_catalog")
    find()
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path'), to_regclass('pg_temp.hookflow_compared')")
        assert cursor.fetchone() == ("public, pg_catalog", None)


@pytest.mark.django_db
def test_the_check_command_says_so_and_fails() -> None:
    run_sql("ALTER TABLE django_hookflow_event DISABLE TRIGGER pgtrigger_guard_truncate_89e93")

    with pytest.raises(CommandError, match="Nothing refuses TRUNCATE on django_hookflow_event:"):
        call_command("check", databases=["default"], stderr=StringIO())


@pytest.mark.django_db
def test_a_database_that_is_not_migrated_yet_does_not_stop_migrate() -> None:
    run_sql("DROP TABLE django_hookflow_event CASCADE")

    assert find() == []


#: The tables of release 0.0.4, as far as they matter here: they have the names of ours and no run_uid.
EARLIER = {"workflowrun": "run_id", "stepexecution": "workflow_run_id", "deadletterentry": "run_id"}


@pytest.mark.django_db
@pytest.mark.parametrize("there", [["workflowrun", "stepexecution", "deadletterentry"], ["deadletterentry"]])
def test_tables_of_a_release_before_this_package_stop_migrate_before_it_changes_anything(there: list[str]) -> None:
    run_sql("CREATE SCHEMA earlier; SET LOCAL search_path = earlier, public")
    for table in there:
        run_sql(f"CREATE TABLE django_hookflow_{table} (id bigint PRIMARY KEY, {EARLIER[table]} varchar(255))")

    (found,) = find_earlier()
    with pytest.raises(CommandError) as refused:
        call_command("migrate", "django_hookflow", skip_checks=False, stdout=StringIO(), stderr=StringIO())

    tables = ", ".join(sorted(f"django_hookflow_{table}" for table in there))
    assert found.id == "django_hookflow.E024"
    assert found.msg.startswith("The database has tables of django-hookflow 0.0.x, which cannot be upgraded in place")
    assert found.msg.endswith(f": {tables}.")
    assert "migrate django_hookflow zero" in (found.hint or "")
    assert found.msg in str(refused.value)


@pytest.mark.django_db
def test_tables_of_an_earlier_release_in_another_schema_are_in_nobodys_way() -> None:
    run_sql("ALTER TABLE django_hookflow_workflowrun RENAME TO moved; CREATE SCHEMA ours")
    run_sql("CREATE TABLE django_hookflow_workflowrun (id bigint PRIMARY KEY, run_id varchar(255))")
    assert len(find_earlier()) == 1

    run_sql("SET LOCAL search_path = ours, public")

    assert find_earlier() == []


def test_an_old_server_is_told_with_its_version() -> None:
    message = describe_old_server(13)

    assert (message.id, message.msg) == (
        "django_hookflow.E020",
        "The database server is PostgreSQL 13; the event log needs 14 or newer.",
    )


def test_another_database_than_postgresql_is_an_error(tmp_path: Path) -> None:
    """In a process of its own: a project's databases are fixed when it starts. Nothing is opened there."""
    (tmp_path / "project.py").write_text(
        "from tests.settings import *\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(Path.cwd())])

    done = subprocess.run(
        [sys.executable, "-m", "django", "check", "--database", "default"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "project", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "(django_hookflow.E006) The database 'default' is SQLite; the event log needs PostgreSQL." in done.stderr
