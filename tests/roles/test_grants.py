"""Who may do what, to the letter: a function or table that nobody has decided about fails here and says so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.roles.dba import DBA, ROLES, Guarded

#: Every function and procedure of the schema: who may call it beside its owner, and whether it runs as the owner.
APP, READERS, REDACTOR, NOBODY = {"app"}, {"app", "reader", "redactor"}, {"redactor"}, set[str]()
#: What a function may set beside that: how its statements are planned, which says nothing about what they find.
PLANNING = {"plan_cache_mode=force_generic_plan", "enable_seqscan=off"}
FUNCTIONS: dict[str, tuple[set[str], bool]] = {
    "hookflow_start": (APP, True),
    "hookflow_claim": (APP, True),
    "hookflow_take": (APP, True),
    "hookflow_append": (APP, True),
    "hookflow_complete": (APP, True),
    "hookflow_renew": (APP, True),
    "hookflow_release": (APP, True),
    "hookflow_operate": (APP, True),
    "hookflow_signal": (APP, True),
    "hookflow_expire": (APP, True),
    "hookflow_take_over": (APP, True),
    "hookflow_start_from": (APP, True),
    "hookflow_join": (APP, True),
    "hookflow_cancel_orphans": (APP, True),
    "hookflow_rejoin": (APP, True),
    "hookflow_redact": (REDACTOR, True),
    "hookflow_now": (READERS, False),
    "hookflow_event_hash": (READERS, False),
    "hookflow_mask": (READERS, False),
    "hookflow_may": (READERS, False),
    "hookflow_first_step": (READERS, False),
    "hookflow_status_after": (READERS, False),
    "hookflow_ends_run": (READERS, False),
    "hookflow_is_act": (READERS, False),
    "hookflow_settles_of_run": (READERS, False),
    "hookflow_fold_runs": (READERS, False),
    "hookflow_fold_waits": (READERS, False),
    "hookflow_fold_dead_letters": (READERS, False),
    "hookflow_fold_runs_as_of": (READERS, False),
    "hookflow_fold_waits_as_of": (READERS, False),
    "hookflow_fold_steps_as_of": (READERS, False),
    "hookflow_fold_dead_letters_as_of": (READERS, False),
    "hookflow_fold_runs_until": (READERS, False),
    "hookflow_ended_child": (READERS, False),
    "hookflow_uid_at": (READERS, False),
    "hookflow_time_of": (READERS, False),
    "hookflow_month": (READERS, False),
    "hookflow_partitions": (READERS, False),
    "hookflow_project": (NOBODY, False),
    "hookflow_refuse": (NOBODY, False),
    "hookflow_refuse_to": (NOBODY, False),
    "hookflow_steps_from": (NOBODY, False),
    "hookflow_is_well_formed": (NOBODY, False),
    "hookflow_wait_length": (NOBODY, False),
    "hookflow_with_until": (NOBODY, False),
    "hookflow_announce": (NOBODY, False),
    "hookflow_scopes_due": (NOBODY, False),
    "hookflow_settlement": (NOBODY, False),
    "hookflow_settle": (NOBODY, False),
    "hookflow_take_signals": (NOBODY, False),
    "hookflow_hand_on": (NOBODY, False),
    "hookflow_time_out": (NOBODY, False),
    "hookflow_check": (NOBODY, False),
    "hookflow_retire": (NOBODY, False),
    "hookflow_remove_dead_letters": (NOBODY, False),
    "hookflow_add_partitions": (NOBODY, False),
    "hookflow_detach_partition": (NOBODY, False),
    "hookflow_take_moment": (NOBODY, False),
    "hookflow_living_runs": (NOBODY, False),
    "hookflow_refuse_living": (NOBODY, False),
    "hookflow_split_sql": (NOBODY, False),
    "hookflow_partition_sql": (NOBODY, False),
    "hookflow_partition_name": (NOBODY, False),
    "hookflow_untagged": (NOBODY, False),
    "hookflow_slept_for": (NOBODY, False),
    "hookflow_old_error_type": (NOBODY, False),
    "hookflow_old_fingerprint": (NOBODY, False),
    "hookflow_old_uid": (NOBODY, False),
    "hookflow_until": (NOBODY, False),
    "hookflow_old_runs": (NOBODY, False),
    "hookflow_old_events": (NOBODY, False),
    "hookflow_chain": (NOBODY, False),
    "hookflow_import_runs": (NOBODY, False),
    "hookflow_import_next": (NOBODY, False),
    "hookflow_new_key": (NOBODY, False),
    "hookflow_old_key": (NOBODY, False),
    "hookflow_convert_references": (NOBODY, False),
    "hookflow_convert_column": (NOBODY, False),
    "hookflow_import": (NOBODY, False),
    "pgtrigger_guard_23500": (NOBODY, False),
    "pgtrigger_guard_truncate_89e93": (NOBODY, False),
    "pgtrigger_checkpoint_guard_fb7c7": (NOBODY, False),
    "pgtrigger_checkpoint_guard_truncate_aede2": (NOBODY, False),
}
#: What the application may do with a table beside reading it: privileges, or one on a column.
WRITTEN: dict[str, set[str]] = {
    "django_hookflow_outbox": {"UPDATE of send_at", "UPDATE of announced_at", "UPDATE of attempts"},
    "django_hookflow_subscriber": {"INSERT", "UPDATE", "DELETE"},
}
READ = {"SELECT"}


def functions_of(guarded: Guarded, dba: DBA) -> dict[str, tuple[set[str], bool]]:
    rows = guarded.database.rows(
        """
        SELECT proname, prosecdef, proconfig, proowner::regrole::text,
               ARRAY(SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
                     FROM aclexplode(coalesce(proacl, acldefault('f', proowner)))
                     WHERE grantee <> proowner AND privilege_type = 'EXECUTE')
        FROM pg_proc WHERE proname LIKE 'hookflow%%' OR proname LIKE 'pgtrigger%%'
        """
    )
    found = {}
    for name, as_owner, config, owner, callers in rows:
        assert owner == dba.role("owner"), name
        if as_owner:
            assert set(config) - PLANNING == {"search_path=pg_catalog, public, pg_temp"}, name
        found[name] = ({caller.removeprefix(f"{dba.prefix}_") for caller in callers}, as_owner)
    return found


def tables_of(guarded: Guarded, dba: DBA) -> dict[str, dict[str, set[str]]]:
    """What each role but the owner may do with each table, view and sequence."""
    rows = guarded.database.rows(
        """
        SELECT relname, relowner::regrole::text, role, privilege FROM pg_class LEFT JOIN LATERAL (
          SELECT grantee, privilege_type AS privilege FROM aclexplode(relacl)
          UNION ALL
          SELECT grantee, privilege_type || ' of ' || attname
          FROM pg_attribute, aclexplode(attacl) WHERE attrelid = pg_class.oid AND attacl IS NOT NULL
        ) AS acl ON grantee <> relowner
        LEFT JOIN LATERAL (SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS role) AS named ON true
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
          AND (relname LIKE 'django_hookflow%%' OR relname LIKE 'hookflow%%')
        """
    )
    found: dict[str, dict[str, set[str]]] = {}
    for table, owner, role, privilege in rows:
        assert owner == dba.role("owner"), table
        found.setdefault(table, {}).setdefault(role.removeprefix(f"{dba.prefix}_"), set()).add(privilege)
    return found


def test_every_function_is_decided_about(dba: DBA, guarded: Guarded) -> None:
    found = functions_of(guarded, dba)
    undecided = sorted(found.keys() - FUNCTIONS.keys())
    assert not undecided, f"{undecided} are new: decide in migrations_sql/roles.sql and here who may call them"
    assert found == FUNCTIONS


def test_tables_are_read_and_not_written(dba: DBA, guarded: Guarded) -> None:
    found = tables_of(guarded, dba)
    expected = {
        table: {"app": READ | WRITTEN.get(table, set()), "reader": READ, "redactor": READ}
        for table in found.keys() | WRITTEN.keys()
    }
    assert found == expected
    assert len(found) >= 10


def everything_of(guarded: Guarded) -> list[tuple[Any, ...]]:
    return guarded.database.rows(
        """
        SELECT 'table', oid::regclass::text, relowner, relacl::text, '' FROM pg_class WHERE relname LIKE '%%hookflow%%'
        UNION ALL SELECT 'column', attrelid::regclass::text || attname, 0, attacl::text, '' FROM pg_attribute
                  WHERE attrelid::regclass::text LIKE '%%hookflow%%' AND attacl IS NOT NULL
        UNION ALL SELECT 'function', oid::regprocedure::text, proowner, proacl::text, proconfig::text || prosecdef
                  FROM pg_proc WHERE proname LIKE '%%hookflow%%' OR proname LIKE 'pgtrigger%%'
        UNION ALL SELECT 'schema', nspname, nspowner, nspacl::text, '' FROM pg_namespace WHERE nspname = 'public'
        UNION ALL SELECT 'default', defaclobjtype::text || defaclnamespace, defaclrole, defaclacl::text, '' FROM pg_default_acl
        ORDER BY 1, 2
        """
    )


def test_running_it_again_changes_nothing(dba: DBA, guarded: Guarded) -> None:
    before = everything_of(guarded)
    dba.apply(guarded.database, ROLES)
    assert everything_of(guarded) == before


def test_what_was_granted_by_hand_is_taken_away(dba: DBA, guarded: Guarded) -> None:
    """Such as by ``GRANT … ON ALL TABLES IN SCHEMA public``, which an application's own tables often need."""
    before = everything_of(guarded)
    web, app = dba.role("web"), dba.role("app")
    guarded.database.execute(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {web}; GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO {web};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {app}; GRANT INSERT, UPDATE ON django_hookflow_event TO PUBLIC;"
        f"GRANT UPDATE (payload) ON django_hookflow_event_all TO {app} WITH GRANT OPTION; GRANT CREATE ON SCHEMA public TO {app};"
        "GRANT CREATE ON SCHEMA public TO PUBLIC; ALTER FUNCTION hookflow_start SECURITY INVOKER RESET search_path"
    )
    assert everything_of(guarded) != before
    dba.apply(guarded.database, ROLES)
    assert everything_of(guarded) == before


def test_a_login_that_can_do_more_than_its_group_is_named(dba: DBA, guarded: Guarded) -> None:
    web = dba.role("web")
    guarded.database.execute(f"GRANT CREATE ON SCHEMA public TO {web}")
    warnings = dba.apply(guarded.database, ROLES)
    assert f"hookflow: {web} is a member of {dba.role('app')}, but may also act as" in warnings
    guarded.database.execute(f"REVOKE CREATE ON SCHEMA public FROM {web}")
    assert dba.apply(guarded.database, ROLES) == ""


@pytest.mark.parametrize("kind", ["FUNCTION", "PROCEDURE"])
def test_what_a_later_migration_makes_is_closed_until_it_is_granted(dba: DBA, guarded: Guarded, kind: str) -> None:
    body = "RETURNS integer LANGUAGE sql AS 'SELECT 1'" if kind == "FUNCTION" else "LANGUAGE sql AS 'SELECT 1'"
    guarded.deployer.execute(
        f"SET ROLE {dba.role('owner')}; CREATE {kind} hookflow_later() {body};"
        "CREATE TABLE django_hookflow_later (id bigint GENERATED ALWAYS AS IDENTITY); CREATE VIEW hookflow_laters AS TABLE django_hookflow_later"
    )
    privileges = """
        SELECT has_function_privilege(%s, 'hookflow_later()', 'EXECUTE'), array_agg(privilege ORDER BY privilege)
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege,
             unnest(ARRAY['django_hookflow_later', 'hookflow_laters']) AS relation
        WHERE has_table_privilege(%s, relation, privilege)
    """
    try:
        for _ in ("before roles.sql is run again", "and after"):
            for group in ("app", "reader", "redactor"):
                role = dba.role(group)
                assert guarded.database.rows(privileges, role, role) == [(False, ["SELECT", "SELECT"])]
            dba.apply(guarded.database, ROLES)
    finally:
        guarded.database.execute(
            f"DROP {kind} hookflow_later(); DROP VIEW hookflow_laters; DROP TABLE django_hookflow_later"
        )


def test_a_partition_is_covered_whatever_its_name(dba: DBA) -> None:
    guarded = dba.create_guarded()
    guarded.database.execute(
        "ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all;"
        "CREATE TABLE of_last_year PARTITION OF django_hookflow_event FOR VALUES FROM (MINVALUE) TO (MAXVALUE)"
    )
    dba.apply(guarded.database, ROLES)
    owner, privileges = guarded.database.rows(
        "SELECT relowner::regrole::text, has_table_privilege(%s, oid, 'SELECT') AND NOT has_table_privilege(%s, oid, "
        "'INSERT, UPDATE, DELETE, TRUNCATE') FROM pg_class WHERE relname = 'of_last_year'",
        dba.role("app"),
        dba.role("app"),
    )[0]
    assert (owner, privileges) == (dba.role("owner"), True)
