"""The log's functions called as SQL, the way any client could: no code of the package stands in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connection

from django_hookflow.demo.postgres import PostgresUnavailable, find_installation
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKFLOW = "shop.order"
Row = dict[str, Any]


def ask(statement: str, *parameters: Any, session: psycopg.Connection[Any] | None = None) -> list[Row]:
    """The rows a statement answers, on Django's connection unless on another session."""
    source: Any = session or connection
    with source.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def start(
    run_id: str | None = None,
    data: Any = None,
    *,
    run_uid: uuid.UUID | None = None,
    session: psycopg.Connection[Any] | None = None,
) -> Row:
    run_uid = run_uid or uuid.uuid4()
    run_id = run_id or f"run-{run_uid}"
    payload = json.dumps({"run_id": run_id, "workflow_id": WORKFLOW, "data": data}, ensure_ascii=False)
    statement = "SELECT * FROM hookflow_start(%s, %s, %s, %s::json, NULL)"
    (row,) = ask(statement, run_uid, run_id, WORKFLOW, payload, session=session)
    return {**row, "run_id": run_id}


def append(
    run_uid: uuid.UUID,
    expected_seq: int | None,
    *events: tuple[str, str | None, Any],
    actor: str | None = None,
    ends_turn: bool = False,
    next_in: float | None = None,
    session: psycopg.Connection[Any] | None = None,
) -> int:
    """Appends events, each (type, step id, payload); a payload of None is no payload at all, SQL's NULL."""
    types, step_ids, payloads = zip(*events, strict=True) if events else ((), (), ())
    texts = [None if payload is None else json.dumps(payload, ensure_ascii=False) for payload in payloads]
    (row,) = ask(
        "SELECT hookflow_append(%s, %s, %s::text[], %s::text[], %s::json[], %s, %s, make_interval(secs => %s)) AS seq",
        *(run_uid, expected_seq, list(types), list(step_ids), texts, actor, ends_turn, next_in),
        session=session,
    )
    return int(row["seq"])


def claim(
    run_id: str,
    seq: int,
    *,
    workflow_id: str = WORKFLOW,
    lease: float = 60,
    session: psycopg.Connection[Any] | None = None,
) -> list[Row]:
    return ask(
        "SELECT * FROM hookflow_claim(%s, %s, %s, 'worker', make_interval(secs => %s), '{}'::json)",
        *(workflow_id, run_id, seq, lease),
        session=session,
    )


def step(step_id: str, result: Any = None) -> tuple[str, str, Any]:
    return ("step.completed", step_id, {"kind": "run", "attempt": 1, "result": result})


def log_of(run_uid: uuid.UUID) -> list[Row]:
    """A run's events, every column, the payload as the text that is stored."""
    statement = "SELECT *, payload::text AS payload_text FROM django_hookflow_event WHERE run_uid = %s ORDER BY seq"
    return ask(statement, run_uid)


def types_of(run_uid: uuid.UUID) -> list[str]:
    return [event["type"] for event in log_of(run_uid)]


def head_of(run_uid: uuid.UUID) -> Row:
    (head,) = ask("SELECT * FROM django_hookflow_head WHERE run_uid = %s", run_uid)
    return head


@contextmanager
def session() -> Iterator[psycopg.Connection[Any]]:
    """A session of its own on the test's database, each statement its own transaction unless it begins one."""
    entry = connection.settings_dict
    with psycopg.connect(
        dbname=entry["NAME"],
        user=entry["USER"],
        password=entry["PASSWORD"],
        host=entry["HOST"],
        port=entry["PORT"] or None,
        autocommit=True,
    ) as other:
        yield other


def wait_until_blocked(pid: int, what: str) -> None:
    """Until the session with this server process waits for a lock that another one holds."""
    wait_until(lambda: ask("SELECT FROM unnest(pg_blocking_pids(%s))", pid), what)


def psql(*arguments: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
    """PostgreSQL's own client as a DBA runs it, on the test's database, without anything of ours in its session."""
    entry = connection.settings_dict
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {
        "PGHOST": entry["HOST"],
        "PGPORT": str(entry["PORT"] or 5432),
        "PGUSER": entry["USER"],
        "PGPASSWORD": entry["PASSWORD"],
        "PGDATABASE": database or entry["NAME"],
    }
    command = [find_psql(), "-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def find_psql() -> str:
    try:
        return str(find_installation() / "bin" / "psql")
    except PostgresUnavailable:
        return shutil.which("psql") or pytest.skip("psql is neither in the embedded PostgreSQL nor on the PATH")
