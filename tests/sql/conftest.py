"""A database to make from the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.sql.catalog import connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def database(transactional_db: None) -> Iterator[str]:
    """An empty database on the test's server."""
    name = f"{connection.settings_dict['NAME']}_psql"
    with connect("postgres") as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name}"')
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        yield name
        server.execute(f'DROP DATABASE "{name}"')
