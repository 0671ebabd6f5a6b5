"""A migrated project for the session; for each test a database, a QStash, a bank, and a deployment of the project."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.database import Database
from tests.e2e.deployment import Deployment
from tests.e2e.outside import Outside, running_outside
from tests.e2e.project import Project
from tests.e2e.qstash_peer import QStashPeer, running_peer

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("e2e") / "site")
    project.create()
    return project


@pytest.fixture(scope="session")
def migrated(project: Project) -> Iterator[Database]:
    """A database that ``manage.py migrate`` has made, to be copied."""
    server = os.environ["DATABASE_URL"]
    database = Database.create(server)
    migrate(project, database)
    yield database
    database.drop(server)


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    server = os.environ["DATABASE_URL"]
    database = Database.create(server, template=migrated)
    yield database
    database.drop(server)


@pytest.fixture
def peer() -> Iterator[QStashPeer]:
    with running_peer() as peer:
        yield peer


@pytest.fixture
def outside() -> Iterator[Outside]:
    with running_outside() as outside:
        yield outside


@pytest.fixture
def deploy(
    project: Project, database: Database, peer: QStashPeer, outside: Outside, tmp_path: Path
) -> Iterator[Deploy]:
    """``deploy(webs=2, DJANGO_HOOKFLOW_LEASE_SECONDS=2)``: the project with these settings and so many web processes."""
    with ExitStack() as exits:

        def start(webs: int = 1, on: Database = database, **settings: object) -> Deployment:
            deployment = Deployment(project, on, peer, outside, tmp_path, **settings)
            exits.enter_context(running(deployment))
            for _ in range(webs):
                deployment.start_web()
            return deployment

        yield start


@contextmanager
def running(deployment: Deployment) -> Iterator[None]:
    try:
        yield
    finally:
        deployment.close()
        sys.stdout.write(deployment.log())  # pytest shows it when the test has failed


def migrate(project: Project, database: Database) -> None:
    """As a user does it, the shop's own migration first."""
    env = {
        **project.environment(),
        **dict.fromkeys(("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"), "unused"),
        "QSTASH_URL": "http://127.0.0.1:9",
        "SHOP_OUTSIDE_URL": "http://127.0.0.1:9",
        "SHOP_DATABASE": database.settings(),
        "SHOP_DATABASE_OPTIONS": "{}",
        "SHOP_SETTINGS": "{}",
    }
    for command in (["makemigrations", "shop", "--verbosity", "0"], ["migrate", "--verbosity", "0"]):
        done = project.manage(env, *command)
        assert done.returncode == 0, done.stderr
