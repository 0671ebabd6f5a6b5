"""For each test a database, gates, and a fleet of processes on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.database import Database
from tests.e2e.outside import Outside, running_outside
from tests.environments.fleet import Fleet
from tests.environments.servers import Server, running_server

MakeFleet = Callable[..., Fleet]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A migrated database to be copied."""
    with own_database(os.environ["DATABASE_URL"]) as database:
        migrate(database, tmp_path_factory.mktemp("migrate"))
        yield database


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    with own_database(os.environ["DATABASE_URL"], template=migrated) as database:
        yield database


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that tests may stop, crash and start again."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def migrated_there(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Database:
    database = Database.create(server.url)
    migrate(database, tmp_path_factory.mktemp("migrate"))
    return database


@pytest.fixture
def database_there(server: Server, migrated_there: Database) -> Iterator[Database]:
    """A database on ``server``."""
    with own_database(server.url, template=migrated_there) as database:
        yield database


@pytest.fixture
def outside() -> Iterator[Outside]:
    with running_outside() as outside:
        yield outside


@pytest.fixture
def make_fleet(outside: Outside, tmp_path: Path) -> Iterator[MakeFleet]:
    """``make_fleet(database, {"CONN_MAX_AGE": None}, DJANGO_HOOKFLOW_TURN_BUDGET=1)``."""
    with ExitStack() as exits:

        def make(database: Database, entry: dict[str, Any] | None = None, **settings: Any) -> Fleet:
            return exits.enter_context(closing(Fleet(database, outside.url, tmp_path, entry or {}, settings)))

        yield make


@contextmanager
def closing(fleet: Fleet) -> Iterator[Fleet]:
    try:
        yield fleet
    finally:
        fleet.close()
        sys.stdout.write(fleet.log()[-6000:])  # pytest shows it when the test has failed


@contextmanager
def own_database(server: str, template: Database | None = None) -> Iterator[Database]:
    database = Database.create(server, template)
    try:
        yield database
    finally:
        database.drop(server)


def migrate(database: Database, logs: Path) -> None:
    with closing(Fleet(database, "http://127.0.0.1:9", logs, {}, {})) as fleet:
        fleet.run("django", "migrate", "--verbosity", "0")
