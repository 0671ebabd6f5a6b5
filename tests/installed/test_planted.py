"""What somebody puts on a table of ours: triggers, rules, policies, functions in defaults and indexes; and lost guards."""

from __future__ import annotations

import pytest

from django_hookflow.installed.shipped import shipped
from tests.installed.database import TRUNCATE_GUARD, found, found_after, run_sql, undone

pytestmark = pytest.mark.django_db

PARTITION = "django_hookflow_event_all"
TABLES = sorted(name for name, relation in shipped().relations.items() if relation.kind == "table")
#: A function of somebody who is not the owner of the log.
OTHERS = (
    "CREATE ROLE hookflow_other; CREATE FUNCTION planted(value anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE"
    " AS 'BEGIN RETURN value; END'; ALTER FUNCTION planted OWNER TO hookflow_other;"
)
TRIGGER = "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"

#: On a table of any name with a column of text.
WITH_A_FUNCTION = {
    "default of column {column}": "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT planted(''::text)",
    "default of column g": "ALTER TABLE {table} ADD COLUMN g text GENERATED ALWAYS AS (planted({column})) STORED",
    "constraint c": "ALTER TABLE {table} ADD CONSTRAINT c CHECK (planted({column}) IS NOT DISTINCT FROM {column})",
    "index i": "CREATE INDEX i ON {table} (planted({column}))",
    "index j": "CREATE INDEX j ON {table} ({column}) WHERE planted({column}) = ''",
    "statistics s": "CREATE STATISTICS s ON (planted({column})), {column} FROM {table}",
}


def on_our_tables(what: str) -> str:
    return f"Unknown objects on the tables of django-hookflow or among its functions: {what}."


@pytest.mark.parametrize("table", [*TABLES, PARTITION])
@pytest.mark.parametrize("level", ["ROW", "STATEMENT"])
def test_a_trigger(table: str, level: str) -> None:
    seen = found_after(
        f"{TRIGGER} CREATE TRIGGER planted BEFORE INSERT ON {table} FOR EACH {level} EXECUTE FUNCTION planted()"
    )
    clone = f", trigger planted on {PARTITION}" if (table, level) == ("django_hookflow_event", "ROW") else ""
    assert seen == {"E027": on_our_tables(f"trigger planted on {table}{clone}")}


def test_a_trigger_that_is_off_and_one_of_postgresqls_own() -> None:
    table = "django_hookflow_outbox"
    made = f"CREATE TRIGGER planted BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    assert found_after(made) == {"E027": on_our_tables(f"trigger planted on {table}")}
    assert found_after(f"{made}; ALTER TABLE {table} DISABLE TRIGGER planted") == {
        "E027": on_our_tables(f"trigger planted on {table}")
    }
    constraint = (
        f"{TRIGGER} CREATE CONSTRAINT TRIGGER planted AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION planted()"
    )
    assert found_after(constraint) == {"E027": on_our_tables(f"trigger planted on {table}")}


def test_a_foreign_key_of_the_project_is_nobodys_plant() -> None:
    assert found_after("CREATE TABLE orders (run uuid REFERENCES django_hookflow_workflowrun)") == {}


@pytest.mark.parametrize("table", [*TABLES, PARTITION])
def test_a_rule(table: str) -> None:
    seen = found_after(f"CREATE RULE planted AS ON INSERT TO {table} DO ALSO NOTHING")
    assert seen == {"E027": on_our_tables(f"rule planted on {table}")}


@pytest.mark.parametrize("table", [*TABLES, PARTITION])
def test_a_policy_and_row_security(table: str) -> None:
    with undone():
        run_sql(f"CREATE POLICY planted ON {table} USING (false)")
        assert found() == {"E027": on_our_tables(f"policy planted on {table}")}
        run_sql(f"DROP POLICY planted ON {table}; ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        assert found() == {"E027": on_our_tables(f"row security on {table}")}


def test_a_table_that_inherits() -> None:
    seen = found_after("CREATE TABLE planted () INHERITS (django_hookflow_head)")
    assert seen == {"E027": on_our_tables("inheriting table planted on django_hookflow_head")}


@pytest.mark.parametrize(
    ("table", "column", "what"),
    [
        (table, column, what)
        for table, column in (
            ("django_hookflow_event", "type"),
            (PARTITION, "type"),
            ("django_hookflow_head", "workflow_id"),
        )
        for what in WITH_A_FUNCTION
        if (table, what) != (PARTITION, "default of column g")  # a partition has no columns of its own
    ],
)
def test_a_function_that_is_not_the_owners(table: str, column: str, what: str) -> None:
    seen = found_after(OTHERS + WITH_A_FUNCTION[what].format(table=table, column=column))
    assert list(seen) == ["E027"]
    assert f"{what.format(column=column)} on {table} (it calls planted(anyelement), which is not " in seen["E027"]


def test_a_function_that_was_made_an_extensions() -> None:
    seen = found_after(
        f"{OTHERS} ALTER EXTENSION plpgsql ADD FUNCTION planted;"
        "CREATE INDEX i ON django_hookflow_head (planted(workflow_id))"
    )
    assert "index i on django_hookflow_head (it calls planted(anyelement)" in seen["E027"]


def test_a_function_of_the_owner_is_fine() -> None:
    assert found_after("CREATE INDEX mine ON django_hookflow_workflowrun (hookflow_time_of(id))") == {}


def test_an_operator_that_is_not_the_owners() -> None:
    seen = found_after(
        "CREATE ROLE hookflow_other; CREATE FUNCTION planted(integer, integer) RETURNS boolean LANGUAGE plpgsql AS"
        " 'BEGIN RETURN true; END'; ALTER FUNCTION planted OWNER TO hookflow_other;"
        "CREATE OPERATOR === (FUNCTION = planted, LEFTARG = integer, RIGHTARG = integer);"
        "ALTER TABLE django_hookflow_head ADD CONSTRAINT planted CHECK (last_seq === last_seq)"
    )
    assert "constraint planted on django_hookflow_head (it calls planted(integer,integer), which" in seen["E027"]


def test_the_guard_of_a_partition_dropped() -> None:
    assert found_after(f"DROP TRIGGER {PARTITION}_truncate ON {PARTITION}") == {
        "E021": f"{PARTITION} is not protected from TRUNCATE: its guard trigger is missing or not set to ENABLE ALWAYS."
    }


def test_a_guard_with_a_condition_is_none() -> None:
    seen = found_after(
        f"DROP TRIGGER {PARTITION}_truncate ON {PARTITION}; CREATE TRIGGER {PARTITION}_truncate BEFORE TRUNCATE ON {PARTITION}"
        f" FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION {TRUNCATE_GUARD}();"
        f"ALTER TABLE {PARTITION} ENABLE ALWAYS TRIGGER {PARTITION}_truncate"
    )
    assert seen.keys() == {"E021", "E027"}


@pytest.mark.parametrize("table", ["django_hookflow_event", PARTITION, "django_hookflow_checkpoint"])
@pytest.mark.parametrize("state", ["DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL"])
def test_guards_that_are_not_always_on(table: str, state: str) -> None:
    seen = found_after(f"ALTER TABLE {table} {state}")["E021"].splitlines()
    assert {f"{table} is not protected from {what}" for what in ("UPDATE and DELETE", "TRUNCATE")} <= {
        line.partition(":")[0] for line in seen
    }


def test_partitions_of_any_name_are_looked_at() -> None:
    """The guard against TRUNCATE may be called as one likes; without it the partition is named."""
    with undone():
        run_sql(
            f"ALTER TABLE django_hookflow_event DETACH PARTITION {PARTITION}; CREATE SCHEMA attic;"
            'CREATE TABLE attic."Last year" PARTITION OF django_hookflow_event FOR VALUES FROM (MINVALUE)'
            " TO ('01900000-0000-7000-8000-000000000000');"
            "CREATE TABLE this_year PARTITION OF django_hookflow_event DEFAULT;"
            f"CREATE TRIGGER mine BEFORE TRUNCATE ON this_year EXECUTE FUNCTION {TRUNCATE_GUARD}();"
            "ALTER TABLE this_year ENABLE ALWAYS TRIGGER mine"
        )
        assert found() == {
            "E021": 'attic."Last year" is not protected from TRUNCATE: its guard trigger is missing or not set to ENABLE ALWAYS.'
        }
