"""Objects that a login's search_path puts in the place of ours, or of PostgreSQL's own where ours use them."""

from __future__ import annotations

import re

import pytest

from tests.installed.database import found, found_after, rows, run_sql, undone

pytestmark = pytest.mark.django_db

IN_FRONT = "CREATE SCHEMA attic; SET LOCAL search_path = attic, public;"
BEHIND = "CREATE SCHEMA attic; SET LOCAL search_path = public, attic;"
BEFORE_POSTGRESQLS = "CREATE SCHEMA attic; SET LOCAL search_path = attic, pg_catalog, public;"
OURS = "RETURNS timestamptz LANGUAGE sql AS 'SELECT clock_timestamp()'"
BUILTIN = "RETURNS text LANGUAGE sql AS $$ SELECT '' $$"

SHADOWS = {
    "function attic.hookflow_now()": f"{IN_FRONT} CREATE FUNCTION attic.hookflow_now() {OURS}",
    "function attic.hookflow_now(integer)": f"{BEHIND} CREATE FUNCTION attic.hookflow_now(integer) {OURS}",
    "table attic.django_hookflow_outbox": f"{IN_FRONT} CREATE TABLE attic.django_hookflow_outbox ()",
    "view attic.django_hookflow_workflowrun": f"{IN_FRONT} CREATE VIEW attic.django_hookflow_workflowrun AS SELECT 1",
    "table attic.hookflow_failures": f"{IN_FRONT} CREATE TABLE attic.hookflow_failures ()",
    "sequence attic.django_hookflow_event_position_seq": f"{IN_FRONT} CREATE SEQUENCE attic.django_hookflow_event_position_seq",
    "type attic.django_hookflow_lease": f"{IN_FRONT} CREATE TYPE attic.django_hookflow_lease AS ENUM ()",
    "table pg_temp.django_hookflow_head": "CREATE TEMPORARY TABLE django_hookflow_head ()",
    "type pg_temp.uuid": "CREATE TYPE pg_temp.uuid AS ENUM ()",
    "function attic.sha256(bytea)": f"{BEFORE_POSTGRESQLS} CREATE FUNCTION attic.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
    "function attic.sha256(text)": f"{BEHIND} CREATE FUNCTION attic.sha256(text) {BUILTIN}",
    "type attic.uuid": f"{BEFORE_POSTGRESQLS} CREATE TYPE attic.uuid AS ENUM ()",
    "operator attic.||(json,text)": (
        f"{BEHIND} CREATE FUNCTION attic.joined(json, text) {BUILTIN};"
        "CREATE OPERATOR attic.|| (FUNCTION = attic.joined, LEFTARG = json, RIGHTARG = text)"
    ),
    "operator attic.=(uuid,uuid)": (
        f"{BEFORE_POSTGRESQLS} CREATE FUNCTION attic.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR attic.= (FUNCTION = attic.same, LEFTARG = uuid, RIGHTARG = uuid)"
    ),
}


@pytest.mark.parametrize("what", SHADOWS)
def test_what_stands_in_front(what: str) -> None:
    seen = found_after(SHADOWS[what])
    assert seen.keys() == {"E028"}
    assert re.sub(r"pg_temp_\d+", "pg_temp", seen["E028"]) == (
        f"Because of this login's search_path, other objects hide those of django-hookflow: {what}."
    )


@pytest.mark.parametrize(
    "statement",
    [
        f"{BEHIND} CREATE TABLE attic.django_hookflow_outbox ()",
        f"{BEHIND} CREATE FUNCTION attic.hookflow_now() {OURS}",
        "CREATE SCHEMA attic; CREATE FUNCTION attic.hookflow_now(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        f"{BEHIND} CREATE FUNCTION attic.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
        f"{IN_FRONT} CREATE TYPE attic.money_of_ours AS ENUM (); CREATE FUNCTION attic.sha256(attic.money_of_ours) {BUILTIN}",
        "CREATE FUNCTION sha256(text) RETURNS text LANGUAGE sql AS $$ SELECT '' $$",
    ],
    ids=["behind", "behind, the same", "not on the path", "hidden", "own type", "the owner's own"],
)
def test_what_is_never_taken_for_ours(statement: str) -> None:
    assert found_after(statement) == {}


def test_operators_of_an_extension_are_left_alone() -> None:
    if not rows("SELECT FROM pg_available_extensions WHERE name = 'intarray'"):
        pytest.skip("this server has no contrib")
    assert found_after("CREATE EXTENSION intarray") == {}


def test_the_comparison_itself_cannot_be_deceived() -> None:
    """Operators and functions in front of PostgreSQL's, which would make everything equal to everything."""
    lies = f"""
        {BEFORE_POSTGRESQLS}
        CREATE FUNCTION attic.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR attic.= (FUNCTION = attic.same, LEFTARG = oid, RIGHTARG = oid);
        CREATE FUNCTION attic.same(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT false';
        CREATE OPERATOR attic.= (FUNCTION = attic.same, LEFTARG = name, RIGHTARG = name);
        CREATE FUNCTION attic.pg_get_functiondef(oid) RETURNS text LANGUAGE sql AS $$ SELECT 'nothing' $$;
        CREATE VIEW attic.pg_trigger AS SELECT * FROM pg_catalog.pg_trigger LIMIT 0
    """
    with undone():
        run_sql(f"DROP FUNCTION hookflow_claim; {lies}")
        seen = found()
    assert seen.keys() == {"E026", "E028"}
    assert "function hookflow_claim" in seen["E026"]
    assert "operator attic.=(oid,oid)" in seen["E028"]
