"""System checks of the log's database, on a real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

import django_hookflow
from django_hookflow.checks.server import describe_old_server


def find() -> list[CheckMessage]:
    return run_checks(tags=["database"], databases=["default"])


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
    assert "django_hookflow_event_all is not protected from UPDATE and DELETE" in found[0].msg
    assert "ENABLE ALWAYS TRIGGER" in (found[0].hint or "")


@pytest.mark.django_db
def test_a_missing_truncate_guard_is_found() -> None:
    run_sql("DROP TRIGGER django_hookflow_event_all_truncate ON django_hookflow_event_all")

    assert [message.msg.split(":")[0] for message in find()] == [
        "django_hookflow_event_all is not protected from TRUNCATE"
    ]


@pytest.mark.django_db
def test_a_missing_guard_of_the_checkpoints_is_found() -> None:
    run_sql("ALTER TABLE django_hookflow_checkpoint DISABLE TRIGGER ALL")

    assert [message.msg.split(":")[0] for message in find()] == [
        "django_hookflow_checkpoint is not protected from UPDATE and DELETE",
        "django_hookflow_checkpoint is not protected from TRUNCATE",
    ]


@pytest.mark.django_db
def test_a_partition_without_a_truncate_guard_is_found_by_its_name() -> None:
    run_sql("ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all")
    run_sql('CREATE TABLE "Odd name" PARTITION OF django_hookflow_event FOR VALUES FROM (MINVALUE) TO (MAXVALUE)')

    assert [message.msg.split(":")[0] for message in find()] == ['"Odd name" is not protected from TRUNCATE']


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

    with pytest.raises(CommandError, match="django_hookflow_event is not protected from TRUNCATE:"):
        call_command("check", databases=["default"], stderr=StringIO())


@pytest.mark.django_db
def test_a_database_that_is_not_migrated_yet_does_not_stop_migrate() -> None:
    run_sql("DROP TABLE django_hookflow_event CASCADE")

    assert find() == []


STRAY = """from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("django_hookflow", "0001_initial")]
    operations = [migrations.AlterField("stepexecution", "step_id", models.TextField())]
"""


def test_migrations_that_makemigrations_wrote_beside_0_0_x_are_named_before_migrate_runs_into_them(
    tmp_path: Path, process_environment: dict[str, str]
) -> None:
    """Uninstalling 0.0.x leaves them where this release is installed then. Django only says that they are in conflict."""
    installed = tmp_path / "django_hookflow"
    shutil.copytree(Path(django_hookflow.__file__).parent, installed, ignore=shutil.ignore_patterns("__pycache__"))
    (installed / "migrations" / "0002_alter_workflowrun_id.py").write_text(STRAY, encoding="utf-8")
    environment = {**process_environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "django", "migrate", "django_hookflow"]
    refused = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert refused.returncode == 1
    assert "that are not part of this release: 0002_alter_workflowrun_id." in refused.stderr
    assert f"makemigrations with 0.0.x created such files in {installed / 'migrations'}" in refused.stderr
    assert 'change its dependency to ("django_hookflow", "0001_initial")' in refused.stderr


@pytest.mark.django_db
def test_migrations_that_a_setting_has_elsewhere_are_not_this_releases(settings: Any) -> None:
    settings.MIGRATION_MODULES = {"django_hookflow": "shop.hookflow_migrations"}
    (found,) = find()
    assert (found.id, found.hint and found.hint[:18]) == ("django_hookflow.E024", "Remove that entry.")
    assert "shop.hookflow_migrations" in found.msg
    settings.MIGRATION_MODULES = {"django_hookflow": None}
    assert find() == []


@pytest.mark.django_db
def test_foreign_keys_that_the_upgrade_has_left_are_named() -> None:
    run_sql(
        "CREATE TABLE hookflow_0_0_workflowrun (id bigint PRIMARY KEY);"
        "CREATE TABLE hookflow_0_0_stepexecution (id bigint PRIMARY KEY, run_id bigint REFERENCES hookflow_0_0_workflowrun)"
    )
    assert find() == []
    run_sql(
        'CREATE TABLE "Ticket" ("of" bigint REFERENCES hookflow_0_0_stepexecution);'
        "CREATE TABLE shop_order (run_id bigint REFERENCES hookflow_0_0_workflowrun)"
    )
    (found,) = find()
    assert found.id == "django_hookflow.W024"
    assert (
        '0.0.x: "Ticket".of to hookflow_0_0_stepexecution, shop_order.run_id to hookflow_0_0_workflowrun.' in found.msg
    )


def test_an_old_server_is_told_with_its_version() -> None:
    message = describe_old_server(13)

    assert (message.id, message.msg) == (
        "django_hookflow.E020",
        "The database server is PostgreSQL 13, but the event log needs 14 or newer.",
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
    assert "(django_hookflow.E006) The database 'default' is SQLite, but the event log needs PostgreSQL." in done.stderr
