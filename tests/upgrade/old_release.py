"""django-hookflow 0.0.4 from the registry in an environment of its own, and databases that its own code has made."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.database import Database

REQUIREMENTS = ("django-hookflow==0.0.4", "psycopg[binary]>=3.1.18")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class NotInstalled(Exception):
    """The registry cannot be reached, or does not have it."""


def install(directory: Path) -> Path:
    """The interpreter of the environment in ``directory``, which the processes of a session share. Raises NotInstalled."""
    directory.mkdir(parents=True, exist_ok=True)
    python = directory / "environment" / "bin" / "python"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / "done").exists():
            return python
        for command in (
            [sys.executable, "-m", "venv", str(directory / "environment")],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise NotInstalled((done.stderr or done.stdout).strip()[-500:])
        (directory / "done").touch()
    return python


@dataclass(frozen=True)
class Project:
    """A copy of the project in ``project/``, on a database, with two interpreters: of 0.0.4, and of this package."""

    database: Database
    directory: Path
    old_python: Path
    #: What its steps have done.
    effects: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "effects", self.directory / "effects.log")
        if not self.directory.exists():
            shutil.copytree(HERE / "project", self.directory, ignore=shutil.ignore_patterns("__pycache__"))

    def old(self, *arguments: str) -> str:
        """What a command prints that 0.0.4 runs."""
        return self._run([str(self.old_python), *arguments], str(self.directory))

    def new(self, *arguments: str, standard_input: str = "", code: int = 0) -> str:
        """What a command prints that this package runs. ``code`` is how it has to exit."""
        paths = os.pathsep.join([str(self.directory), str(ROOT)])
        return self._run([sys.executable, *arguments], paths, standard_input, code)

    def manage(self, *arguments: str, code: int = 0) -> str:
        return self.new("-m", "django", *arguments, code=code)

    def deliver(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """Has the webhook get messages, signed as QStash signs: ``{"code", "answer"}`` of each."""
        answers: list[dict[str, Any]] = json.loads(
            self.new(str(HERE / "deliver.py"), standard_input=json.dumps(messages))
        )
        return answers

    def done(self) -> list[str]:
        """What the steps have done, in order."""
        return self.effects.read_text(encoding="utf-8").splitlines() if self.effects.exists() else []

    def _run(self, command: list[str], paths: str, standard_input: str = "", code: int = 0) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": paths,
            "DJANGO_SETTINGS_MODULE": "settings",
            "EFFECTS": str(self.effects),
        }
        environment["DATABASE_URL"] = self.database.conninfo
        done = subprocess.run(
            command,
            env=environment,
            cwd=self.directory,
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr[-4000:]
        return done.stdout


def make_project(server: str, old_python: Path, directory: Path) -> Project:
    """The project with its tables, as 0.0.4 makes them, and the migrations that its ``makemigrations`` writes."""
    project = Project(Database.create(server), directory, old_python)
    # Beside 0.0.4 it also writes a migration for that package itself, into the environment, and has the shop's depend on it.
    project.old("-m", "django", "makemigrations", "shop", "--verbosity", "0")
    project.old("-m", "django", "migrate", "--verbosity", "0")
    return project


def temporary_directory() -> Path:
    """Not pytest's: the user that PostgreSQL runs as for root may not enter that."""
    directory = Path(tempfile.mkdtemp(prefix="upgrade-"))
    directory.chmod(0o755)
    return directory
