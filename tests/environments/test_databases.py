"""Databases as projects have them: schemas with odd names, other encodings, fixtures, and a second one for the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg.conninfo
import pytest
from psycopg import sql

from tests.e2e.database import Database
from tests.environments.conftest import own_database


class Project:
    """Django's commands and programs of a project whose log is in ``database``."""

    def __init__(
        self, database: Database, settings: str = "tests.environments.workshop.settings", **entry: str
    ) -> None:
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": settings,
            "WORKSHOP_DATABASE": database.settings(),
            "WORKSHOP_SETTINGS": json.dumps({"DJANGO_HOOKFLOW_TRANSPORT": "inline"}),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "django", *arguments)

    def program(self, text: str) -> str:
        done = self.run("-c", f"import django\ndjango.setup()\n{textwrap.dedent(text)}")
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def empty_database() -> Iterator[Database]:
    with own_database(os.environ["DATABASE_URL"]) as database:
        yield database


@pytest.mark.parametrize("schema", ["Shop Log", 'odd "name" of. a\'schema'])
def test_a_schema_whose_name_must_be_quoted(empty_database: Database, schema: str) -> None:
    with psycopg.connect(empty_database.conninfo, autocommit=True) as connection:
        names = sql.Identifier(schema), sql.Identifier(empty_database.name)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(names[0]))
        connection.execute(sql.SQL("ALTER DATABASE {1} SET search_path = {0}").format(*names))
    project = Project(empty_database)
    for command in ("migrate", "hookflow_partitions add", "hookflow_verify", "hookflow_rebuild --check"):
        done = project.command(*command.split())
        assert done.returncode == 0, (command, done.stderr)
    assert "django_hookflow_event_all" in project.command("hookflow_partitions", "list").stdout
    project.program("""
        from django_hookflow import workflow
        from django_hookflow.models import WorkflowRun
        from django.core.management import call_command
        run_id = workflow(workflow_id="shop.quoted")(lambda ctx: ctx.step.run("one", int)).trigger()
        call_command("hookflow_relay", "--once")
        assert WorkflowRun.objects.get(run_id=run_id).status == "completed"
        """)
    assert project.command("check", "--database", "default").returncode == 0


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_a_database_of_another_encoding_is_refused_before_anything_is_made(encoding: str) -> None:
    server = os.environ["DATABASE_URL"]
    name = f"encoded_{encoding.lower()}_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            + (" LOCALE_PROVIDER libc" if connection.info.server_version >= 150_000 else "")
        )
    database = Database(psycopg.conninfo.make_conninfo(server, dbname=name))
    try:
        done = Project(database).command("migrate")
        assert done.returncode == 1
        assert f"(django_hookflow.E029) The database has the encoding {encoding}" in done.stderr
        assert database.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'django_hookflow%%'") == 0
    finally:
        database.drop(server)


@pytest.mark.parametrize(
    "settings",
    [
        {"INSTALLED_APPS": ["django_hookflow"]},
        {"INSTALLED_APPS": ["pgtrigger", "django_hookflow"]},
        {"INSTALLED_APPS": ["django_hookflow", "pgtrigger"]},
        {"INSTALLED_APPS": ["django_hookflow", "pgtrigger"], "PGTRIGGER_MODEL_META": False},
    ],
    ids=["without", "before", "after", "without Meta"],
)
def test_guards_are_installed_with_and_without_the_app_that_manages_them(
    empty_database: Database, settings: dict[str, Any]
) -> None:
    project = Project(empty_database)
    project.environment["WORKSHOP_SETTINGS"] = json.dumps(settings)
    for command in ("makemigrations --check", "migrate", "check --database default", "makemigrations --check"):
        done = project.command(*command.split())
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "E02" not in done.stderr
    guards = (
        "SELECT count(*) FROM pg_trigger WHERE tgenabled = 'A' AND tgname LIKE 'pgtrigger%%guard%%' AND tgparentid = 0"
    )
    assert empty_database.value(guards) == 4


#: A program that prints what each thing that is asked of a database without the log, or without all of it, ends with.
ASK = """
    import json
    import tempfile
    from django.core.management import CommandError, call_command
    from django.test import Client
    from django_hookflow import on_event, workflow
    from django_hookflow.models import DeadLetterEntry, WorkflowRun
    from django_hookflow.delivery.signature import sign

    @workflow(workflow_id="shop.early")
    def early(ctx): ...

    on_event("run.completed", name="early")(lambda event: None)

    def deliver():
        path, body = "/hookflow/workflow/shop.early/", b'{"workflow_id": "shop.early", "run_id": "order-1", "seq": 1}'
        headers = {"Upstash-Signature": sign(body, f"http://127.0.0.1{path}"), "Host": "127.0.0.1"}
        answer = Client().post(path, body, content_type="application/json", headers=headers)
        raise CommandError(f"{answer.status_code} {answer.json()['error']}")

    asked = {
        "trigger": lambda: early.trigger({"order": 1}),
        "signal": lambda: early.signal("order-1", "paid"),
        "replay": lambda: DeadLetterEntry.objects.filter(is_replayed=False).replay(),
        "models": lambda: list(WorkflowRun.objects.filter(events__type="run.triggered", waits=None)),
        "webhook": deliver,
    }
    new = tempfile.mkdtemp() + "/new"
    for line in (
        "hookflow_relay", "hookflow_relay --once", "hookflow_subscribers", "hookflow_subscribers --once",
        "hookflow_subscribers --list", "hookflow_timeline order-1", "hookflow_verify", "hookflow_rebuild",
        "hookflow_rebuild --check", f"hookflow_export --output {new}", "hookflow_partitions list",
        "hookflow_partitions add", "cleanup_workflows", "cleanup_workflows --dry-run", "cleanup_workflows --dlq-only",
        f"hookflow_checkpoint --output {new}",
    ):
        asked[line] = lambda line=line: call_command(*line.split(), stdout=open("/dev/null", "w"))
    for name, ask in asked.items():
        try:
            ask()
            ended = "nothing was said"
        except Exception as error:
            ended = f"{type(error).__mro__}: {error}" if not isinstance(error, CommandError) else str(error)
        print(json.dumps([name, ended]))
    """


@pytest.mark.parametrize("applied", ["zero", "0002_folds"])
def test_a_database_that_is_not_migrated_says_so_to_whoever_asks(empty_database: Database, applied: str) -> None:
    project = Project(empty_database)
    project.environment["WORKSHOP_SETTINGS"] = json.dumps({"DJANGO_HOOKFLOW_CHECKPOINT_KEY": "k" * 40})
    if applied != "zero":
        assert project.command("migrate", "django_hookflow", applied).returncode == 0

    ended = dict(map(json.loads, project.program(ASK).splitlines()))
    checked = project.command("check", "--database", "default")

    silent = {name for name, text in ended.items() if "run manage.py migrate" not in text}
    assert {name: text for name, text in ended.items() if "does not exist" in text} == {}
    assert not silent & {"trigger", "webhook", "hookflow_relay", "hookflow_relay --once", "hookflow_subscribers --once"}
    assert not silent or applied != "zero"  # some of it needs only the tables that are there
    assert "django_hookflow.W020" in checked.stderr
    assert "Run manage.py migrate" in checked.stderr


def test_fixtures_do_not_touch_the_log(database: Database, tmp_path: Path) -> None:
    project = Project(database)
    project.program("""
        from django_hookflow import workflow
        from tests.testapp.models import LedgerEntry
        LedgerEntry.objects.create(account="shop", amount=1)
        workflow(workflow_id="shop.dumped")(lambda ctx: None).trigger({"order": 1})
        """)
    dump = tmp_path / "dump.json"
    assert project.command("dumpdata", "--output", str(dump)).returncode == 0
    seen = "SELECT array_agg(e ORDER BY seq)::text FROM django_hookflow_event e"
    before = database.value(seen)
    models = {row["model"] for row in json.loads(dump.read_text()) if row["model"].startswith("django_hookflow.")}
    assert {"django_hookflow.workflowrun", "django_hookflow.workflowevent", "django_hookflow.head"} <= models
    for model in sorted(models):
        part = tmp_path / f"{model}.json"
        part.write_text(json.dumps([row for row in json.loads(dump.read_text()) if row["model"] == model]))
        refused = project.command("loaddata", str(part))
        assert refused.returncode == 1
        assert "--exclude django_hookflow" in refused.stderr
        assert "pg_dump" in refused.stderr
    assert database.value(seen) == before
    database.execute("DELETE FROM testapp_ledgerentry")
    loaded = project.command("loaddata", "--exclude", "django_hookflow", str(dump))
    assert loaded.returncode == 0, loaded.stderr
    assert database.value("SELECT count(*) FROM testapp_ledgerentry") == 1
    assert project.command("hookflow_verify").returncode == 0


def test_flush_leaves_the_log_and_everything_else_as_it_is(database: Database) -> None:
    project = Project(database)
    project.program("""
        from django_hookflow import workflow
        from tests.testapp.models import LedgerEntry
        LedgerEntry.objects.create(account="shop", amount=1)
        workflow(workflow_id="shop.flushed")(lambda ctx: None).trigger()
        """)
    refused = project.command("flush", "--noinput", "--traceback")
    assert refused.returncode == 1
    assert "is append-only, TRUNCATE is refused" in refused.stderr
    assert database.value("SELECT count(*) FROM testapp_ledgerentry") == 1
    assert database.value("SELECT count(*) FROM django_hookflow_event") == 1


TWO = """
    from django.db import connections, transaction
    from django_hookflow import workflow
    from django_hookflow.exceptions import RunConflict
    from django_hookflow.models import OutboxMessage, WorkflowRun

    pay = workflow(workflow_id="shop.pay")(lambda ctx: None)

    def announced():
        return OutboxMessage.objects.count()

    def rolled_back(work, using):
        try:
            with transaction.atomic(using=using):
                work()
                raise KeyError
        except KeyError:
            pass
"""


@pytest.mark.parametrize(
    "program",
    [
        """
        with transaction.atomic():
            with transaction.atomic():
                pay.trigger(run_id="one")
            assert announced() == 0
        assert announced() == 1
        """,
        """
        rolled_back(lambda: pay.trigger(run_id="one"), "default")
        assert (announced(), WorkflowRun.objects.count()) == (0, 0)
        assert pay.trigger(run_id="one") == "one"
        assert announced() == 1
        """,
        """
        with transaction.atomic():
            rolled_back(lambda: pay.trigger(run_id="one"), "log")
        assert announced() == 0
        """,
        """
        with transaction.atomic(using="log"), transaction.atomic():
            pay.trigger(run_id="one")
        assert announced() == 1
        """,
        """
        pay.trigger({"a": 1}, run_id="one")
        with transaction.atomic():
            assert pay.trigger({"a": 1}, run_id="one") == "one"
            try:
                pay.trigger({"a": 2}, run_id="one")
            except RunConflict:
                refused = True
        assert refused and announced() == 1
        """,
        """
        connections["log"].settings_dict["PORT"] = "1"
        try:
            with transaction.atomic():
                pay.trigger()
        except Exception as error:
            assert type(error).__name__ == "OperationalError"
        else:
            raise AssertionError("a log that cannot be reached is said while the caller can still roll back")
        """,
    ],
    ids=["commits", "rolls back", "log rolls back", "log outside", "conflict", "log unreachable"],
)
def test_a_trigger_in_a_transaction_of_another_database_waits_for_its_commit(database: Database, program: str) -> None:
    project = Project(database, settings="tests.environments.workshop.two_databases")
    project.program(textwrap.dedent(TWO) + textwrap.dedent(program))
