"""0.0.4, servers of two versions, and a database on each that 0.0.4 has filled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.database import Database
from tests.upgrade import servers
from tests.upgrade.old_release import NotInstalled, Project, install, make_project, temporary_directory

SYSTEM_SERVER = Path("/usr/lib/postgresql/15")


@pytest.fixture(scope="session")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    try:
        return install(shared / "hookflow-0.0.4")
    except NotInstalled as why:
        pytest.skip(f"django-hookflow 0.0.4 cannot be installed from the registry: {why}")


@pytest.fixture(scope="session", params=["embedded", "postgresql-15"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "embedded":
        yield os.environ["DATABASE_URL"]
    elif (SYSTEM_SERVER / "bin" / "postgres").exists():
        with servers.running(SYSTEM_SERVER) as url:
            yield url
    else:
        pytest.skip(f"there is no PostgreSQL in {SYSTEM_SERVER} (Debian's package postgresql-15)")


@pytest.fixture(scope="session")
def filled(server: str, old_python: Path) -> Iterator[tuple[Project, dict[str, Any]]]:
    """A project of 0.0.4 with runs of every kind, and the messages that are under way. Not to be changed: see ``project``."""
    directory = temporary_directory()
    project = make_project(server, old_python, directory / "project")
    live = json.loads(project.old(str(Path(__file__).with_name("fill.py"))))
    yield project, live
    project.database.drop(server)
    shutil.rmtree(directory)


@pytest.fixture
def live(filled: tuple[Project, dict[str, Any]]) -> dict[str, Any]:
    """The messages of 0.0.4 that are under way, by the run they are for."""
    return filled[1]


@pytest.fixture
def project(filled: tuple[Project, dict[str, Any]], server: str, tmp_path: Path) -> Iterator[Project]:
    """A copy of the filled project and its database; its steps have done nothing yet in it."""
    origin = filled[0]
    shutil.copytree(origin.directory, tmp_path / "project")
    (tmp_path / "project" / "effects.log").unlink()
    copy = replace(origin, database=Database.create(server, origin.database), directory=tmp_path / "project")
    yield copy
    copy.database.drop(server)


@pytest.fixture
def upgraded(project: Project) -> Project:
    """The project after ``manage.py migrate`` with this package, and nothing else."""
    project.manage("migrate", "--verbosity", "0")
    return project
