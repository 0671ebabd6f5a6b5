"""The set-up as a newcomer does it: a project that ``startproject`` has made, and what the pages say to add to it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.checkout import REPOSITORY
from tests.e2e.database import Database
from tests.readme.snippets import find_block, read_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIVE_STEPS = "Into an existing project"
QSTASH = "With QStash"
#: What the project has besides: it is on PostgreSQL, as step 0 says, and has an app.
DATABASE = """
import json
import os
DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
INSTALLED_APPS += ["shop"]
"""
KEYS = ("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY")


class Newcomer:
    """Somebody with a terminal in a directory of a project of theirs."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        self.environment["PYTHONPATH"] = str(REPOSITORY)
        self.environment["SHOP_DATABASE"] = database.settings()
        self.run("-m", "django", "startproject", "project", ".")
        self.run("manage.py", "startapp", "shop")
        self.append("project/settings.py", DATABASE)

    def append(self, name: str, text: str) -> None:
        with (self.directory / name).open("a", encoding="utf-8") as file:
            file.write("\n" + text)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def type(self, line: str) -> str:
        """A line of a block of commands, as it stands there."""
        python, *arguments = line.split()
        assert python == "python"
        return self.run(*arguments)

    @contextmanager
    def running(self, line: str) -> Iterator[None]:
        """The same in another terminal, until the ``with`` is left."""
        command = [sys.executable, *line.split()[1:]]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, cwd=self.directory, env=self.environment, stdout=quiet, stderr=quiet) as process:
            try:
                yield
            finally:
                process.terminate()


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    database = Database.create(os.environ["DATABASE_URL"])
    try:
        yield Newcomer(tmp_path, database)
    finally:
        database.drop(os.environ["DATABASE_URL"])


def commands_of(heading: str) -> list[str]:
    blocks = [block for block in read_blocks() if (block.heading, block.language) == (heading, "sh")]
    return [line for block in blocks for line in block.text.splitlines()]


@pytest.mark.slow
def test_five_steps(newcomer: Newcomer) -> None:
    """From ``startproject`` to a completed run: every block under the heading, in its order."""
    install, migrate, check, relay, timeline = commands_of(FIVE_STEPS)
    assert install.startswith("pip install ")
    newcomer.append("project/settings.py", find_block(FIVE_STEPS, 1).text)
    newcomer.type(migrate)
    assert "no issues" in newcomer.type(check)
    newcomer.append("shop/workflows.py", find_block(FIVE_STEPS, 2).text)
    newcomer.run("manage.py", "shell", "-c", find_block(FIVE_STEPS, 3).text)
    with newcomer.running(relay):
        told = newcomer.type(timeline)
    assert "completed" in told
    assert "Welcome, Ada!" in newcomer.run(
        "manage.py",
        "shell",
        "-c",
        "from django_hookflow.models import WorkflowRun; print(WorkflowRun.objects.get().result)",
    )


@pytest.mark.slow
def test_the_set_up_with_qstash_passes_every_check(newcomer: Newcomer) -> None:
    newcomer.append("project/settings.py", find_block(QSTASH, 1).text)
    newcomer.append("project/urls.py", "from django.urls import include\n" + find_block(QSTASH, 2).text)
    newcomer.environment.update({key: f"value of {key}" for key in KEYS})
    newcomer.run("manage.py", "migrate", "--verbosity", "0")
    told = newcomer.run("manage.py", "check", "--tag", "django_hookflow", "--fail-level", "WARNING")
    assert "no issues" in told
