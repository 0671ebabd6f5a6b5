"""Management commands as processes of their own, on the test's database."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import psycopg

from tests.log.calls import ask
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.database import Database

Process = subprocess.Popen[str]


@contextmanager
def running(environment: dict[str, str], *command: str, stdout: int | IO[Any] = subprocess.PIPE) -> Iterator[Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "django", *command],
        env={**environment, "DJANGO_SETTINGS_MODULE": "tests.feed.shop.settings"},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: Process) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


def run(environment: dict[str, str], *command: str) -> tuple[int, str, str]:
    with running(environment, *command) as process:
        return finish(process)


def wait_until_someone_waits_for_the_gate() -> int:
    """The server process of whoever waits."""

    def find() -> int | None:
        rows = ask(
            "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
        )
        return int(rows[0]["pid"]) if rows else None

    return int(wait_until(find, "a handler waits at the gate") or 0)


def as_url(server: str, name: str) -> str:
    """The URL of a database on the server that the URL of another one names."""
    base, _, options = server.partition("?")
    return f"{base.rpartition('/')[0]}/{name}?{options}"


@contextmanager
def connect_to(database: Database) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.conninfo, autocommit=True) as there:
        yield there
