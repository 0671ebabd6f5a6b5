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
    timeout: float | None = None,
    session: psycopg.Connection[Any] | None = None,
) -> Row:
    run_uid = run_uid or uuid.uuid4()
    run_id = run_id or f"run-{run_uid}"
    facts = {} if timeout is None else {"timeout": timeout}
    statement = "SELECT * FROM hookflow_start(%s, %s, %s, %s::json, %s::json, NULL)"
    (row,) = ask(statement, run_uid, run_id, WORKFLOW, as_json(facts), as_json({"data": data}), session=session)
    return {**row, "run_id": run_id}


#: An event to append: type, step id, payload (None is no payload at all, SQL's NULL) and, where it has any, its facts.
Event = tuple[str, "str | None", Any] | tuple[str, "str | None", Any, dict[str, Any]]


def append(run_uid: uuid.UUID, expected_seq: int | None, *events: Event, **options: Any) -> int:
    """The new length of the log; the options are those of :func:`appended`."""
    return int(appended(run_uid, expected_seq, *events, **options)["seq"])


def appended(
    run_uid: uuid.UUID,
    expected_seq: int | None,
    *events: Event,
    actor: str | None = None,
    ends_turn: bool = False,
    goes_on: bool = False,
    session: psycopg.Connection[Any] | None = None,
) -> Row:
    """Appends events; the answer: the new length of the log and, where a turn ended, when the next one is due."""
    facts = [as_json(event[3] if len(event) > 3 else {}) for event in events]
    payloads = [None if event[2] is None else as_json(event[2]) for event in events]
    (row,) = ask(
        "SELECT * FROM hookflow_append(%s, %s, %s::text[], %s::text[], %s::json[], %s::json[], %s, %s, %s)",
        *(run_uid, expected_seq, [event[0] for event in events], [event[1] for event in events], facts, payloads),
        *(actor, ends_turn, goes_on),
        session=session,
    )
    return row


def claim(
    run_id: str,
    seq: int,
    *,
    workflow_id: str = WORKFLOW,
    lease: float = 60,
    facts: dict[str, Any] | None = None,
    session: psycopg.Connection[Any] | None = None,
) -> list[Row]:
    return ask(
        "SELECT * FROM hookflow_claim(%s, %s, %s, 'worker', make_interval(secs => %s), %s::json)",
        *(workflow_id, run_id, seq, lease, as_json(facts or {})),
        session=session,
    )


def settle(
    run_uid: uuid.UUID,
    step_id: str,
    kind: str,
    outcome: Any = None,
    *,
    actor: str | None = None,
    session: psycopg.Connection[Any] | None = None,
) -> bool:
    """Ends the wait of a step; an outcome of None is none at all."""
    (row,) = ask(
        "SELECT hookflow_settle(%s, %s, %s, %s::json, %s, NULL, NULL) AS done",
        *(run_uid, step_id, kind, None if outcome is None else as_json(outcome), actor),
        session=session,
    )
    return bool(row["done"])


def operate(
    run_uid: uuid.UUID,
    action: str,
    *,
    step_id: str | None = None,
    facts: dict[str, Any] | None = None,
    payload: Any = None,
    actor: str = "ada",
    session: psycopg.Connection[Any] | None = None,
) -> Row:
    (row,) = ask(
        "SELECT * FROM hookflow_operate(%s, %s, %s, %s::json, %s::json, %s, NULL, NULL)",
        *(run_uid, action, step_id, as_json(facts or {}), as_json(payload or {"reason": ""}), actor),
        session=session,
    )
    return row


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def step(step_id: str, result: Any = None) -> Event:
    return ("step.completed", step_id, {"result": result}, {"kind": "run", "attempt": 1, "took": 0.25})


def sleep(step_id: str, seconds: float) -> Event:
    return ("step.suspended", step_id, None, {"kind": "sleep", "seconds": seconds})


def failure(step_id: str | None = None, message: str = "no", **facts: Any) -> Event:
    """The end of a run that failed."""
    return ("run.failed", step_id, {"message": message, "traceback": ""}, {"error": "E", "attempts": 1, **facts})


def log_of(run_uid: uuid.UUID) -> list[Row]:
    """A run's events, every column, facts and payload also as the texts that are stored."""
    statement = (
        "SELECT *, facts::text AS facts_text, payload::text AS payload_text FROM django_hookflow_event "
        "WHERE run_uid = %s ORDER BY seq"
    )
    return ask(statement, run_uid)


def types_of(run_uid: uuid.UUID) -> list[str]:
    return [event["type"] for event in log_of(run_uid)]


def waits_of(run_uid: uuid.UUID) -> list[tuple[str, str]]:
    """What a run waits for, each (step id, kind), in the order in which it began."""
    rows = ask("SELECT step_id, kind FROM django_hookflow_wait WHERE run_uid = %s ORDER BY since_seq", run_uid)
    return [(row["step_id"], row["kind"]) for row in rows]


def announced(run_uid: uuid.UUID) -> Row | None:
    """The turn that is announced, or under way."""
    rows = ask("SELECT * FROM django_hookflow_outbox WHERE run_uid = %s AND kind = 'turn'", run_uid)
    return rows[0] if rows else None


def set_clock(hours: float) -> None:
    """Moves the database's clock away from the true time, until the test's transaction is rolled back."""
    ask(
        "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS "
        f"$$ SELECT clock_timestamp() + make_interval(secs => {hours * 3600}) $$"
    )


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


def psql(
    *arguments: str, database: str | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """PostgreSQL's own client as a DBA runs it, on the test's database, without anything of ours in its session."""
    entry = connection.settings_dict
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    variables |= {
        **(environment or {}),
        "PGHOST": entry["HOST"],
        "PGPORT": str(entry["PORT"] or 5432),
        "PGUSER": entry["USER"],
        "PGPASSWORD": entry["PASSWORD"],
        "PGDATABASE": database or entry["NAME"],
    }
    command = [find_psql(), "-X", "-q", "-A", "-t", "-v", "VERBOSITY=verbose", "-v", "ON_ERROR_STOP=1", *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def find_psql() -> str:
    try:
        return str(find_installation() / "bin" / "psql")
    except PostgresUnavailable:
        return shutil.which("psql") or pytest.skip("psql is neither in the embedded PostgreSQL nor on the PATH")
