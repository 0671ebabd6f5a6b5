"""Appends by an application that may write through the functions alone, against the same without roles.

Two databases on the same server, made alike but for ``migrations_sql/roles.sql``. What roles cost is a change of user and
of search_path for each call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks.report import Figure
from benchmarks.rounds import alternate, in_threads, median_rate, median_ratio

FOLDER = Path(__file__).parents[1] / "migrations_sql"
LOGIN = "hookflow_benchmark_web"
APPEND = "SELECT hookflow_complete(%s, %s, %s, %s, %s)"
START = "SELECT hookflow_start(%s, %s, 'benchmarks.append', '{}', '{\"data\":{}}', NULL)"
FACTS, RESULT = '{"kind": "run", "attempt": 1, "took": 0.001}', '{"result":1}'
WARM_UP = 20


def measure_roles(conninfo: str, appends: int, rounds: int) -> list[Figure]:
    """``conninfo`` is that of a superuser; the databases and the roles made here are gone afterwards."""
    with database_made_by_hand(conninfo) as plain, database_made_by_hand(conninfo, roles=True) as guarded:
        measures = {
            "without roles": in_threads(lambda: prepare_appends(plain, appends), 1),
            "with roles": in_threads(lambda: prepare_appends(guarded, appends), 1),
        }
        rates = alternate(measures, rounds)
    return [
        Figure("append, without roles", median_rate(rates, "without roles"), "events/s"),
        Figure(
            "append as hookflow_app",
            median_rate(rates, "with roles"),
            "events/s",
            ratio=median_ratio(rates, "with roles", "without roles"),
            of="without roles",
            at_least=0.9,
        ),
    ]


def prepare_appends(conninfo: str, appends: int) -> Callable[[], int]:
    """One event a call and commit, with the cursor that Django uses."""
    session = psycopg.connect(conninfo, autocommit=True, cursor_factory=psycopg.ClientCursor)
    cursor, run_uid, seq = session.cursor(), uuid4(), 1
    cursor.execute(START, (run_uid, str(run_uid)))

    def append(count: int) -> int:
        nonlocal seq
        for _ in range(count):
            cursor.execute(APPEND, (run_uid, seq, f"step-{seq}", FACTS, RESULT))
            (seq,) = cursor.fetchone() or (seq,)
        return count

    def work() -> int:
        with session:
            return append(appends)

    append(WARM_UP)
    return work


@contextmanager
def database_made_by_hand(conninfo: str, *, roles: bool = False) -> Iterator[str]:
    """The conninfo of its application: the superuser's own, or with ``roles`` that of a login in hookflow_app."""
    name = f"hookflow_roles_{uuid4().hex}"
    made = make_conninfo(conninfo, dbname=name)
    with psycopg.connect(conninfo, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            apply(made, *sorted(FOLDER.glob("0*.sql")), *([FOLDER / "roles.sql"] if roles else []))
            yield make_login(server, made) if roles else made
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            if roles:
                groups = [f"{LOGIN}_{group}" for group in ("app", "reader", "redactor", "owner")]
                for role in (*groups, LOGIN):
                    server.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def make_login(server: psycopg.Connection[Any], conninfo: str) -> str:
    login, app = sql.Identifier(LOGIN), sql.Identifier(f"{LOGIN}_app")
    server.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'of-a-benchmark' IN ROLE {}").format(login, app))
    return make_conninfo(conninfo, user=LOGIN, password="of-a-benchmark")


def apply(conninfo: str, *files: Path) -> None:
    options = f"-c hookflow.role_prefix={LOGIN} -c client_min_messages=warning"
    with psycopg.connect(conninfo, options=options) as session:
        for file in files:
            session.execute(file.read_bytes())
