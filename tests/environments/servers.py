"""What stands between the project and its data: a PostgreSQL that can be restarted and crashed, and PgBouncer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from django_hookflow.demo.installation import PostgresUnavailable, unprivileged_user
from django_hookflow.demo.postgres import EmbeddedPostgres
from django_hookflow.demo.processes import Child
from tests.e2e.database import Database
from tests.waiting import wait_until


class Server:
    """A PostgreSQL of a test's own, durable, at the same address each time it is started."""

    def __init__(self, directory: Path, **options: str) -> None:
        self._postgres = EmbeddedPostgres(directory / "data", port=free_port())
        self._postgres.options = options
        self.url = self._postgres.start().url()

    def stop(self) -> None:
        """PostgreSQL's fast shutdown: transactions are rolled back, connections closed."""
        self._postgres.stop()

    def crash(self) -> None:
        """kill -9 of the postmaster. Its children notice and end; nobody writes a checkpoint."""
        assert self._postgres.pid is not None
        os.kill(self._postgres.pid, signal.SIGKILL)
        self._postgres.stop()

    def start(self) -> None:
        def try_to_start() -> bool:
            try:
                self._postgres.start()
            except PostgresUnavailable:  # the last children of the one that crashed still hold its memory
                return False
            return True

        wait_until(try_to_start, "PostgreSQL starts again")


@contextmanager
def running_server(**options: str) -> Iterator[Server]:
    # Not pytest's directory, which the user that PostgreSQL runs as for root may not enter.
    directory = Path(tempfile.mkdtemp(prefix="environments-"))
    directory.chmod(0o755)
    try:
        server = Server(directory, **options)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


def pgbouncer() -> str:
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian's package of that name)")
    return program


def pgbouncer_version() -> tuple[int, ...]:
    told = subprocess.run([pgbouncer(), "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in told.split()[1].split("."))


@contextmanager
def running_pgbouncer(database: Database, server_connections: int) -> Iterator[Database]:
    """``database`` through a PgBouncer in transaction mode; clients share so many connections to the server."""
    program = pgbouncer()
    user = unprivileged_user() if os.geteuid() == 0 else None  # it refuses to run as root
    parts = conninfo_to_dict(database.conninfo)
    named = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "dbname"}
    upstream = " ".join(f"{key}={parts[name]}" for key, name in named.items() if parts.get(name))
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="environments-"))
    try:
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n{database.name} = {upstream}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {server_connections}\n"
            "max_client_conn = 200\nserver_round_robin = 1\nlog_connections = 0\nlog_disconnections = 0\n"
        )
        if user is not None:
            shutil.chown(directory, user)
            shutil.chown(directory / "pgbouncer.ini", user)
        conninfo = make_conninfo("", host="127.0.0.1", port=port, user="anyone", dbname=database.name)
        with (directory / "log").open("wb") as log:
            bouncer = Child([program, directory / "pgbouncer.ini"], user=user, output=log, stop_signal=signal.SIGTERM)
        with bouncer:
            wait_until(lambda: answers(conninfo), f"PgBouncer answers: {(directory / 'log').read_text()}")
            yield Database(conninfo)
    finally:
        shutil.rmtree(directory)


def answers(conninfo: str) -> bool:
    try:
        psycopg.connect(conninfo).close()
    except psycopg.OperationalError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
