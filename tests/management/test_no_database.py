"""Every command, where its database does not answer or has no log: one sentence that says so and the way out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import django_hookflow
from tests.checkout import REPOSITORY
from tests.e2e.database import Database

COMMANDS = sorted(
    path.stem
    for path in (Path(django_hookflow.__file__).parent / "management" / "commands").glob("*.py")
    if path.stem != "__init__"
)
#: What they are called with here, each way one line; a command that is not named needs no arguments.
ARGUMENTS = {
    "cleanup_workflows": ["", "--dry-run", "--dlq-only"],
    "hookflow_archive": ["verify --all {directory}"],
    "hookflow_checkpoint": ["--output {directory}/checkpoint"],
    "hookflow_export": ["", "--run order-1", "--follow"],
    "hookflow_partitions": ["list", "add"],
    "hookflow_rebuild": ["", "--check", "--run order-1", "--jobs 1"],
    "hookflow_relay": ["--once"],
    "hookflow_subscribers": ["--once", "--list"],
    "hookflow_timeline": ["order-1", "order-1 --follow", "order-1 --json"],
    "hookflow_verify": ["", "--run order-1", "--since 2026-01-01"],
}
#: These answer all the same: what they look at is not the database, or whether there is one.
ANSWER = {"hookflow_settings", "hookflow_doctor", "hookflow_sql"}
LINES = [f"{name} {line}".strip() for name in COMMANDS if name not in ANSWER for line in ARGUMENTS.get(name, [""])]

SETTINGS = """
import json, os
SECRET_KEY = "x" * 50
USE_TZ = True
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_hookflow", "listening"]
DJANGO_HOOKFLOW_TRANSPORT = "inline"
DJANGO_HOOKFLOW_CHECKPOINT_KEY = "k" * 40
"""
WORKFLOWS = """
from django_hookflow import on_event
@on_event("*", name="listener")
def listen(event): ...
"""
NOBODY = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": "1", "NAME": "shop", "USER": "shop"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a project that subscribes to something, so that every command has something to do."""
    directory = tmp_path_factory.mktemp("project")
    (directory / "project_settings.py").write_text(SETTINGS)
    (directory / "listening").mkdir()
    (directory / "listening" / "__init__.py").touch()
    (directory / "listening" / "workflows.py").write_text(WORKFLOWS)
    return directory


def run(project: Path, database: str, line: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "DATABASE": database,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "PYTHONPATH": os.pathsep.join([str(project), str(REPOSITORY)]),
    }
    command = [sys.executable, "-m", "django", *line.format(directory=project).split()]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_nobody_answers(project: Path, line: str) -> None:
    done = run(project, json.dumps(NOBODY), line)

    (sentence,) = done.stderr.splitlines()
    assert sentence == (
        "CommandError: the database 'default' cannot be reached: "
        'connection to server at "127.0.0.1", port 1 failed: Connection refused. '
        "Check that it is running and that DATABASES in the settings is correct"
    )
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_database_without_migrations(project: Path, line: str) -> None:
    database = Database.create(os.environ["DATABASE_URL"])
    try:
        done = run(project, database.settings(), line)
    finally:
        database.drop(os.environ["DATABASE_URL"])

    (sentence,) = done.stderr.splitlines()
    assert "run manage.py migrate" in sentence
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("entry", [{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, {}])
def test_no_postgresql(project: Path, line: str, entry: dict[str, str]) -> None:
    """From the system check, or from the commands that run without checks."""
    done = run(project, json.dumps(entry), line)

    assert "Traceback" not in done.stderr
    assert "the event log needs PostgreSQL" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ANSWER & set(COMMANDS)))
def test_those_that_answer_all_the_same(project: Path, tmp_path: Path, name: str) -> None:
    arguments = {"hookflow_doctor": "--offline", "hookflow_sql": str(tmp_path / "sql")}
    done = run(project, json.dumps(NOBODY), f"{name} {arguments.get(name, '')}")

    assert "Traceback" not in done.stderr
    assert done.stdout
