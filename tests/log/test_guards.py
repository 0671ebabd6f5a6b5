"""The past does not change: PostgreSQL's own client tries to, in a session that nothing of ours has touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from django_hookflow.guards import EVENT_GUARDS
from django_hookflow.models import WorkflowEvent
from tests.log.calls import append, ask, log_of, psql, start, step

if TYPE_CHECKING:
    from uuid import UUID

ESCAPES = {
    "plainly": "SELECT 1",
    "with pgtrigger's ignore setting, by name": (
        "SET pgtrigger.ignore = '{django_hookflow_event:pgtrigger_guard_23500,"
        "django_hookflow_event:pgtrigger_guard_truncate_89e93}'"
    ),
    "with pgtrigger's ignore setting, by uri": (
        "SET pgtrigger.ignore = '{django_hookflow.WorkflowEvent:guard,django_hookflow.WorkflowEvent:guard_truncate}'"
    ),
    "as a replica": "SET session_replication_role = replica",
    "in a serializable transaction": "SET default_transaction_isolation = serializable",
}
CHANGES = {
    "UPDATE": "UPDATE {table} SET type = 'run.completed' WHERE seq = 2",
    "UPDATE of the key": "UPDATE {table} SET seq = 20 WHERE seq = 2",
    "DELETE": "DELETE FROM {table} WHERE seq = 2",
    "TRUNCATE": "TRUNCATE {table}",
    "TRUNCATE with others": "TRUNCATE {table}, django_hookflow_head CASCADE",
}
TABLES = ["django_hookflow_event", "django_hookflow_event_all"]


@pytest.fixture
def run_uid(transactional_db: None) -> UUID:
    run = start("order-1")
    append(run["run_uid"], 1, step("a", "as it was"), step("b"))
    return run["run_uid"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("escape", ESCAPES)
def test_psql_is_refused(run_uid: UUID, escape: str, table: str) -> None:
    if "replica" in ESCAPES[escape] and ask("SHOW is_superuser") == [{"is_superuser": "off"}]:
        pytest.skip("only a superuser may set session_replication_role")
    before = log_of(run_uid)
    for change in CHANGES.values():
        tried = psql("-c", ESCAPES[escape], "-c", change.format(table=table))
        assert tried.returncode != 0, change
        assert "ERROR:  23001: hookflow: the event log is append-only" in tried.stderr
    assert log_of(run_uid) == before


def test_psql_is_not_refused_what_it_may(run_uid: UUID) -> None:
    """The refusals above are the guards', not those of a client that cannot get in."""
    tried = psql("-c", "SELECT count(*) FROM django_hookflow_event")
    assert (tried.returncode, tried.stdout.strip()) == (0, "3")


IMPOSTORS = {
    "a temporary table in place of the heads": [
        "CREATE TEMP TABLE django_hookflow_head AS SELECT run_uid, now() AS archived_at FROM django_hookflow_head",
        "DELETE FROM django_hookflow_event WHERE seq = 2",
    ],
    "a sha256() of one's own": [
        "CREATE SCHEMA impostor",
        "CREATE FUNCTION impostor.sha256(bytea) RETURNS bytea RETURN pg_catalog.sha256('forged')",
        "SET search_path = impostor, public, pg_catalog",
        "UPDATE django_hookflow_event SET payload = NULL, salt = NULL, payload_digest = pg_catalog.sha256('forged') "
        "WHERE seq = 2",
    ],
}


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_what_a_session_puts_in_the_way_does_not_deceive_the_guards(run_uid: UUID, impostor: str) -> None:
    before = log_of(run_uid)
    try:
        tried = psql(*(part for statement in IMPOSTORS[impostor] for part in ("-c", statement)))
    finally:
        ask("DROP SCHEMA IF EXISTS impostor CASCADE")
    assert "ERROR:  23001: hookflow: the event log is append-only" in tried.stderr
    assert log_of(run_uid) == before


@pytest.mark.django_db
def test_the_guards_fire_always_on_the_table_and_on_each_partition() -> None:
    firing = ask(
        """
        SELECT tgrelid::regclass::text AS on_table, bool_or((tgtype & 32) > 0) AS truncate,
               bool_or((tgtype & 16) > 0 AND (tgtype & 8) > 0) AS update_and_delete, array_agg(DISTINCT tgenabled::text) AS enabled
        FROM pg_trigger
        WHERE tgrelid IN (SELECT relid FROM pg_partition_tree('django_hookflow_event'))
        GROUP BY tgrelid ORDER BY 1
        """
    )
    assert [row.pop("on_table") for row in firing] == TABLES
    assert firing == [{"truncate": True, "update_and_delete": True, "enabled": ["A"]}] * len(TABLES)


@pytest.mark.django_db(transaction=True)
def test_a_partition_added_later_has_the_row_guard_too() -> None:
    """Its TRUNCATE guard, a statement trigger, is for whoever adds the partition: see migrations_sql/README.md."""
    ask("CREATE TABLE event_later (LIKE django_hookflow_event INCLUDING ALL)")
    ask("ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all")
    try:
        ask("ALTER TABLE django_hookflow_event ATTACH PARTITION event_later DEFAULT")
        enabled = ask("SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = 'event_later'::regclass")
        assert enabled == [{"tgname": "pgtrigger_guard_23500", "tgenabled": "A"}]
    finally:
        ask("DROP TABLE event_later")
        ask(
            "ALTER TABLE django_hookflow_event ATTACH PARTITION django_hookflow_event_all "
            "FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
        )


def test_events_of_an_archived_run_may_be_deleted_and_no_others(run_uid: UUID) -> None:
    other = start("order-2")["run_uid"]
    assert psql("-c", "UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'order-1'").returncode == 0
    assert psql("-c", "UPDATE django_hookflow_event SET type = 'x' WHERE seq = 2").returncode != 0
    assert psql("-c", "DELETE FROM django_hookflow_event").returncode != 0
    assert len(log_of(run_uid)) == 3
    assert psql("-c", f"DELETE FROM django_hookflow_event WHERE run_uid = '{run_uid}'").returncode == 0
    assert (log_of(run_uid), len(log_of(other))) == ([], 1)


@pytest.mark.django_db
def test_pgtrigger_knows_the_guards_and_finds_them_as_installed(capsys: pytest.CaptureFixture[str]) -> None:
    """It calls them DISABLED, because the only state it takes for enabled is the ordinary one, which replicas skip."""
    call_command("pgtrigger", "ls")
    lines = [line for line in capsys.readouterr().out.splitlines() if "WorkflowEvent" in line]
    assert len(lines) == len(EVENT_GUARDS)
    assert all("INSTALLED" in line and "OUTDATED" not in line for line in lines), lines


def test_the_migration_installs_the_guards_that_the_model_has() -> None:
    from importlib import resources

    frozen = resources.files("django_hookflow.migrations").joinpath("0001_initial.sql").read_text(encoding="utf-8")
    for guard in EVENT_GUARDS:
        assert guard.compile(WorkflowEvent).install_sql.strip() in frozen
