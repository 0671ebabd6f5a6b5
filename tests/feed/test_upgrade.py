"""The column comes to a log that is in use: sessions of the release before go on, and old events are read like new ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.database import Database
from tests.feed.processes import as_url, connect_to, run
from tests.log.calls import append, claim, start, step

if TYPE_CHECKING:
    from collections.abc import Iterator

BEFORE = "0008_retention"


@pytest.fixture
def database(process_environment: dict[str, str]) -> Iterator[Database]:
    server = process_environment["DATABASE_URL"]
    database = Database.create(server)
    yield database
    database.drop(server)


def test_a_session_that_was_there_before_goes_on(database: Database, process_environment: dict[str, str]) -> None:
    environment = {**process_environment, "DATABASE_URL": as_url(process_environment["DATABASE_URL"], database.name)}
    assert run(environment, "migrate", "django_hookflow", BEFORE, "--verbosity", "0")[0] == 0
    with connect_to(database) as old:
        run_ = start("order-1", session=old)
        uid = run_["run_uid"]
        for number in range(6):  # often enough that its plans are kept
            append(uid, None, step(f"a{number}"), session=old)
        assert claim("order-1", 1, session=old)[0]["answer"] == "run"
        assert run(environment, "migrate", "--verbosity", "0")[0] == 0
        append(uid, None, step("b"), ("run.failed", None, {"error": {"message": "no"}}), session=old)
        start("order-2", session=old)
    told = database.rows("SELECT type, xid IS NULL FROM django_hookflow_event ORDER BY position")
    assert [is_null for _, is_null in told] == [True] * 8 + [False] * 3
    assert database.value("SELECT status FROM django_hookflow_workflowrun WHERE run_id = 'order-1'") == "failed"
    code, output, errors = run(environment, "hookflow_export")
    assert (code, errors) == (0, "")
    assert [json.loads(line)["type"] for line in output.splitlines()] == [type_ for type_, _ in told]
    assert run(environment, "hookflow_rebuild", "--check") == (0, "", "")
    assert run(environment, "hookflow_subscribers", "--once") == (0, "handed over 7\n", "")


def test_a_partition_that_is_added_later_has_it(database: Database, process_environment: dict[str, str]) -> None:
    environment = {**process_environment, "DATABASE_URL": as_url(process_environment["DATABASE_URL"], database.name)}
    assert run(environment, "migrate", "--verbosity", "0")[0] == 0
    database.execute("CALL hookflow_add_partitions(2)")
    with connect_to(database) as there:
        for uid in ("01000000-0000-7000-8000-000000000001", "ff000000-0000-7000-8000-000000000001"):
            there.execute("SELECT hookflow_start(%s, %s, 'shop.order', '{}'::json, NULL)", [uid, uid])
    parts = database.rows("SELECT DISTINCT tableoid::regclass::text, xid IS NOT NULL FROM django_hookflow_event")
    assert [has_xid for _, has_xid in parts] == [True, True]
    code, output, _ = run(environment, "hookflow_export")
    assert (code, len(output.splitlines())) == (0, 2)
