"""The quick start of 0.0.x in a project of its own, in processes of its own: on SQLite, and with no database at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_hookflow.demo.processes import Child
from tests.checkout import REPOSITORY
from tests.e2e.qstash_peer import CURRENT_KEY, NEXT_KEY, TOKEN, QStashPeer
from tests.waiting import wait_until

SETTINGS = """
import os

SECRET_KEY = "only-for-tests-" + "0" * 40
ALLOWED_HOSTS = ["my-app.com", "testserver"]
ROOT_URLCONF = "urls"
LOGGING = {{"version": 1, "handlers": {{"err": {{"class": "logging.StreamHandler"}}}}, "root": {{"handlers": ["err"]}}}}
DATABASES = {databases}
INSTALLED_APPS = {apps} + ["django_hookflow", "shop"]
MIDDLEWARE = {middleware}
TEMPLATES = [{{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {{
    "context_processors": ["django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
                           "django.contrib.messages.context_processors.messages"]}}}}]

QSTASH_TOKEN = "{token}"
QSTASH_CURRENT_SIGNING_KEY = "{current}"
QSTASH_NEXT_SIGNING_KEY = "{next}"
QSTASH_URL = os.environ["PEER_URL"]
DJANGO_HOOKFLOW_DOMAIN = "https://my-app.com"
DJANGO_HOOKFLOW_WEBHOOK_PATH = "/hookflow/"
DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
"""
URLS = """
from django.urls import include, path

urlpatterns = [path("hookflow/", include("django_hookflow.urls"))]
"""
URLS_OF_ADMIN = """
from django.contrib import admin

urlpatterns.append(path("admin/", admin.site.urls))
"""
WORKFLOWS = """
from django_hookflow import workflow

def validate(order_id):
    return {"id": order_id, "lines": [1, 2]}

def fulfil(order, *, express):
    return f"order {order['id']} on its way" + (", express" if express else "")

@workflow
def process_order(ctx):
    order = ctx.step.run("validate", validate, ctx.data["order_id"])
    ctx.step.sleep("wait-for-payment", seconds=1)
    done = ctx.step.run("fulfil", fulfil, order, express=True)
    assert done == "order 1 on its way, express", done
    return {"status": "completed", "result": done}
"""
TRIGGER = "from shop.workflows import process_order; print(process_order.trigger(data={'order_id': '1'}))"
OF_DJANGO = ["admin", "auth", "contenttypes", "sessions", "messages"]
OF_THE_ADMIN = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]


class Shop:
    def __init__(self, directory: Path, peer_url: str, *, has_database: bool) -> None:
        self.directory = directory
        sqlite = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(directory / "db.sqlite3")}}
        (directory / "settings.py").write_text(
            SETTINGS.format(
                databases=sqlite if has_database else {},
                apps=[f"django.contrib.{name}" for name in OF_DJANGO] if has_database else [],
                middleware=OF_THE_ADMIN if has_database else [],
                token=TOKEN,
                current=CURRENT_KEY,
                next=NEXT_KEY,
            )
        )
        (directory / "urls.py").write_text(URLS + (URLS_OF_ADMIN if has_database else ""))
        (directory / "shop").mkdir()
        (directory / "shop" / "__init__.py").touch()
        (directory / "shop" / "workflows.py").write_text(WORKFLOWS)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATABASE_"))}
        path = os.pathsep.join([str(directory), str(REPOSITORY)])
        self.environment = {**kept, "DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": path, "PEER_URL": peer_url}

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "django", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def run(self, *arguments: str) -> str:
        done = self.manage(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def peer() -> Iterator[QStashPeer]:
    peer = QStashPeer()
    try:
        yield peer
    finally:
        peer.close()


@pytest.fixture(params=[True, False], ids=["SQLite", "no database"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, peer: QStashPeer) -> Shop:
    return Shop(tmp_path, peer.url, has_database=request.param)


def test_the_quick_start_without_a_migration(shop: Shop, peer: QStashPeer, tmp_path: Path) -> None:
    assert "no issues" in shop.run("check")
    port_file = tmp_path / "port"
    arguments = [sys.executable, "-m", "tests.e2e.serve", str(port_file)]
    with (tmp_path / "server.log").open("wb") as log, Child(arguments, env=shop.environment, output=log):
        port = wait_until(
            lambda: int(port_file.read_text() or 0) if port_file.exists() else 0, "the web process listens"
        )
        peer.courier.ports = [port]
        run_id = shop.run("shell", "-c", TRIGGER).split()[-1]
        answers = wait_until(lambda: answers_of(peer, 2), "the run has ended")
    assert answers == [(200, {"status": "suspended"}), (200, {"status": "completed"})], (
        tmp_path / "server.log"
    ).read_text()
    assert {json.loads(message.body)["run_id"] for message in peer.published} == {run_id}
    assert not (tmp_path / "db.sqlite3").exists(), "the database was not even opened"


def answers_of(peer: QStashPeer, number: int) -> list[tuple[int | None, dict[str, str]]]:
    """What the first deliveries were answered, once there are so many."""
    attempts = peer.courier.attempts
    return [(attempt.status, json.loads(attempt.answer)) for attempt in attempts] if len(attempts) >= number else []


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("sqlite"), "http://127.0.0.1:9", has_database=True)
    shop.run("migrate", "--verbosity", "0")
    return shop


def test_migrate_makes_the_tables_of_others_and_none_of_ours(on_sqlite: Shop) -> None:
    tables = "from django.db import connection; print(*connection.introspection.table_names())"
    names = on_sqlite.run("shell", "-c", tables).split()
    assert "auth_user" in names
    assert not [name for name in names if "hookflow" in name]


@pytest.mark.parametrize(
    "command", ["check --database default", "makemigrations --check", "dumpdata", "flush --noinput", "createcachetable"]
)
def test_commands_of_django_work_beside_it(on_sqlite: Shop, command: str) -> None:
    on_sqlite.run(*command.split())


ORM = """
from django_hookflow.exceptions import NeedsLog
from django_hookflow.models import WorkflowRun, DeadLetterEntry, WorkflowEvent
for ask in (WorkflowRun.objects.count, DeadLetterEntry.objects.first, lambda: list(WorkflowEvent.objects.all()),
            lambda: WorkflowRun.objects.get(run_id="r")):
    try:
        ask()
    except NeedsLog as refusal:
        print("REFUSED", refusal)
"""


def test_queries_say_what_is_missing(on_sqlite: Shop) -> None:
    refused = [line for line in on_sqlite.run("shell", "-c", ORM).splitlines() if line.startswith("REFUSED")]
    assert len(refused) == 4
    assert all("needs the event log, but DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False" in line for line in refused)


ADMIN = """
from django.contrib.auth.models import User
from django.test import Client
user = User.objects.create_superuser("ada", "ada@example.com", "x")
client = Client()
client.force_login(user)
index = client.get("/admin/")
print("ANSWERS", index.status_code, "hookflow" in index.text.lower() if hasattr(index, "text") else
      b"hookflow" in index.content.lower(), client.get("/admin/django_hookflow/workflowrun/").status_code)
"""


def test_the_admin_shows_no_lists_of_the_log(on_sqlite: Shop) -> None:
    assert "ANSWERS 200 False 403" in on_sqlite.run("shell", "-c", ADMIN)


def test_a_command_ends_with_the_sentence_and_no_traceback(on_sqlite: Shop) -> None:
    done = on_sqlite.manage("hookflow_relay", "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "needs the event log" in done.stderr
