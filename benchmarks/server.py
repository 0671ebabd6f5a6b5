"""A database of the benchmarks' own: on an embedded PostgreSQL, or on the server that DATABASE_URL names."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from django_hookflow.demo.postgres import EmbeddedPostgres


@contextmanager
def own_database() -> Iterator[str]:
    """The URL or conninfo of an empty database, which is gone afterwards."""
    given = os.environ.get("DATABASE_URL")
    if given:
        with database_on(given) as conninfo:
            yield conninfo
    else:
        with EmbeddedPostgres() as address, database_on(address.url()) as conninfo:
            yield conninfo


@contextmanager
def database_on(server: str, prefix: str = "hookflow_benchmarks") -> Iterator[str]:
    name = f"{prefix}_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def describe_machine(conninfo: str) -> dict[str, Any]:
    """What the figures were measured on."""
    import django

    settings = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
    with psycopg.connect(conninfo) as connection:
        shown = {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in settings}  # type: ignore[index]
    return {
        **shown,
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "django": django.get_version(),
        "psycopg": f"{psycopg.__version__} ({psycopg.pq.__impl__})",
    }
