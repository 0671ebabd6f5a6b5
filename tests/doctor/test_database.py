"""Databases that are half migrated, unguarded, changed by somebody; and clocks that differ."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from tests.delivery.servers import Server
from tests.doctor.diagnosis import diagnose, run_process
from tests.log.calls import session

CLOCK = Path(__file__).parents[1] / "environments" / "clock_off_by.c"


def run_sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db
def test_a_migration_that_is_missing() -> None:
    run_sql("DELETE FROM django_migrations WHERE app = 'django_hookflow' AND name = '0005_operating'")
    found = diagnose("schema")
    assert (found.exit_code, found.codes["schema.not_migrated"]) == (1, "error")
    assert found.seen("schema.not_migrated") == "Unapplied migrations: 0005_operating."
    assert "manage.py migrate django_hookflow" in found.way_out("schema.not_migrated")


@pytest.mark.django_db
def test_a_schema_of_a_newer_release() -> None:
    run_sql("INSERT INTO django_migrations (app, name, applied) VALUES ('django_hookflow', '9999_later', now())")
    found = diagnose("schema")
    assert (found.exit_code, found.codes["schema.newer"]) == (0, "info")


@pytest.mark.django_db
def test_guards_that_are_off() -> None:
    run_sql("ALTER TABLE django_hookflow_event_all DISABLE TRIGGER ALL")
    found = diagnose("guards")
    assert (found.exit_code, found.codes["django_hookflow.E021"]) == (1, "error")


@pytest.mark.django_db
def test_half_a_schema_is_a_finding_for_each_area_it_concerns() -> None:
    run_sql("DROP TABLE django_hookflow_outbox, django_hookflow_subscriber, django_hookflow_checkpoint CASCADE")
    found = diagnose(offline=True)
    assert found.exit_code == 1
    assert [code for code in found.codes if code.endswith("not_migrated")] == [
        *("relay.not_migrated", "runs.not_migrated", "subscribers.not_migrated", "checkpoints.not_migrated")
    ]
    assert found.seen("relay.not_migrated").startswith(
        "This area could not be checked: django_hookflow_outbox is missing from the database 'default': run manage.py migrate"
    )


@pytest.mark.django_db
def test_no_schema_at_all() -> None:
    run_sql("DROP TABLE django_hookflow_event CASCADE")
    run_sql("DELETE FROM django_migrations WHERE app = 'django_hookflow'")
    found = diagnose("schema", "guards", "roles", "partitions")
    assert [finding["code"] for finding in found.told["findings"][1:]] == [
        *("schema.not_migrated", "guards.not_migrated", "roles.not_migrated", "partitions.not_migrated")
    ]


@pytest.mark.django_db
def test_a_login_that_may_not_look() -> None:
    run_sql("CREATE ROLE hookflow_doctor_test; SET LOCAL ROLE hookflow_doctor_test")
    found = diagnose("runs", "relay")
    assert (found.codes["runs.not_permitted"], found.codes["relay.not_permitted"]) == ("warning", "warning")
    assert found.exit_code == 0


@pytest.mark.django_db(transaction=True)
def test_a_table_that_somebody_keeps_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_hookflow.doctor.examination.QUERY_SECONDS", "0.1")
    with session() as other, other.transaction():
        other.execute("LOCK TABLE django_hookflow_outbox IN ACCESS EXCLUSIVE MODE")
        found = diagnose("relay", "checkpoints")
    assert found.codes["relay.too_slow"] == "warning"
    assert found.codes["checkpoints.none"] == "info"


@pytest.mark.django_db
def test_a_clock_that_a_test_has_left_moved() -> None:
    run_sql(
        "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
        "AS $$ SELECT clock_timestamp() + interval '1 day' $$"
    )
    found = diagnose("clocks")
    assert found.codes == {"database.answers": "ok", "clocks.database": "ok", "clocks.moved": "error"}
    assert "1 d" in found.seen("clocks.moved")


@pytest.mark.parametrize(
    ("seconds_off", "qstash_level"), [(300, "warning"), (600, "error"), (-600, "warning")], ids=["fast", "far", "slow"]
)
def test_a_machine_whose_clock_is_off(
    process_environment: dict[str, str], qstash: Server, tmp_path: Path, seconds_off: int, qstash_level: str
) -> None:
    """The database and QStash have the right time. Only a fast clock takes deliveries for too old."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a process's clock is set off by a library that is compiled for Linux: no C compiler, or not Linux")
    library = tmp_path / "clock_off_by.so"
    subprocess.run([compiler, "-shared", "-fPIC", CLOCK, "-o", library, "-ldl"], check=True, timeout=60)
    done = run_process(
        "--json",
        "--only",
        "clocks",
        folder=tmp_path,
        environment={**process_environment, "LD_PRELOAD": str(library), "CLOCK_OFF_BY": str(seconds_off)},
        settings=f"QSTASH_URL = {qstash.url!r}; DJANGO_HOOKFLOW_TRANSPORT = 'qstash'",
    )
    levels = {finding["code"]: finding["level"] for finding in json.loads(done.stdout)["findings"]}
    assert levels == {
        "database.answers": "ok",
        "clocks.database_differs": "warning",
        "clocks.qstash_differs": qstash_level,
    }
