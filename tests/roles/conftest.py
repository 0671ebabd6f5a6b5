"""A DBA for the process of tests, and for each module a database with roles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import running
from tests.e2e.database import Database
from tests.e2e.deployment import Deployment
from tests.e2e.outside import running_outside
from tests.e2e.project import Project
from tests.e2e.qstash_peer import running_peer
from tests.roles.dba import DBA, Guarded

Deploy = Callable[..., Deployment]


@pytest.fixture(scope="session")
def dba() -> Iterator[DBA]:
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server) as session:
        if session.execute("SHOW is_superuser").fetchone() != ("on",):
            pytest.skip("the login of DATABASE_URL is no superuser: it cannot make roles and databases as a DBA does")
    dba = DBA(server)
    try:
        yield dba
    finally:
        dba.close()


@pytest.fixture(scope="module")
def guarded(dba: DBA) -> Guarded:
    return dba.create_guarded()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("roles") / "site")
    project.create()
    return project


@pytest.fixture
def deploy(project: Project, tmp_path: Path) -> Iterator[Deploy]:
    """``deploy(database, **settings)``: the project on this database, as the login that its conninfo names."""
    (tmp_path / "log").touch()
    with ExitStack() as exits:

        def start(database: Database, **settings: object) -> Deployment:
            peer, outside = exits.enter_context(running_peer()), exits.enter_context(running_outside())
            deployment = Deployment(project, database, peer, outside, tmp_path, **settings)
            exits.enter_context(running(deployment))
            return deployment

        yield start
