"""Functions that are not what the migrations made: each one of them, changed in each way that matters."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from django_hookflow.installed.shipped import shipped
from tests.installed.database import found, found_after, rows, run_sql, undone

pytestmark = pytest.mark.django_db

FUNCTIONS = sorted(shipped().routines)
GUARDS = [name for name in FUNCTIONS if "guard" in name]


def definition(function: str) -> tuple[str, str]:
    """Its text, and whether it is a function (f) or a procedure (p)."""
    query = "SELECT pg_get_functiondef(oid), prokind::text FROM pg_proc WHERE oid = %s::regprocedure"
    ((text, kind),) = rows(query, function)
    return text, kind


def with_another_body(function: str) -> str:
    return re.sub(r"^(AS \$\w+\$)", r"\1 -- changed\n", definition(function)[0], count=1, flags=re.MULTILINE)


CHANGES: dict[str, Callable[[str], str]] = {
    "body": with_another_body,
    "runs as its owner": lambda function: f"ALTER ROUTINE {function} SECURITY DEFINER",
    "looks elsewhere": lambda function: f"ALTER ROUTINE {function} SET search_path = pg_temp, public",
    "has another setting": lambda function: f"ALTER ROUTINE {function} SET standard_conforming_strings = off",
    "somebody else's": lambda function: f"CREATE ROLE hookflow_other; ALTER ROUTINE {function} OWNER TO hookflow_other",
}


def test_there_is_a_file_for_every_function() -> None:
    there = rows(
        "SELECT oid::regprocedure::text FROM pg_proc AS p WHERE pronamespace = 'public'::regnamespace"
        " AND (proname LIKE 'hookflow%' OR proname LIKE 'pgtrigger%guard%')"
    )
    assert {name for (name,) in there} == {name.replace(", ", ",") for name in FUNCTIONS}
    assert len(FUNCTIONS) > 40


def test_a_migrated_database_has_nothing_to_say() -> None:
    assert found() == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_replaced_by_one_that_differs(function: str) -> None:
    for what, change in CHANGES.items():
        seen = found_after(change(function))
        assert f"function {function} (" in seen.pop("E025")
        if what == "somebody else's" and function.startswith(
            "hookflow_is_well_formed("
        ):  # it stands in a constraint, too
            assert "constraint django_hookflow_event_is_well_formed on django_hookflow_event " in seen.pop("E027")
        assert seen == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_another_volatility(function: str) -> None:
    text, kind = definition(function)
    if kind == "p":
        return
    other = "VOLATILE" if " IMMUTABLE" in text or " STABLE" in text else "STABLE"
    assert found_after(f"ALTER FUNCTION {function} {other}")["E025"].count(f"function {function} (") == 1


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_does_nothing(guard: str) -> None:
    statement = (
        f"CREATE OR REPLACE FUNCTION {guard} RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS"
    )
    for body in ("BEGIN RETURN OLD; END", "BEGIN RETURN NULL; END"):
        assert found_after(f"{statement} '{body}'") == {
            "E025": f"Database objects of django-hookflow differ from this release: function {guard} (different definition)."
        }


def test_functions_that_are_gone_are_named_with_the_files_that_have_them() -> None:
    with undone():
        run_sql("DROP FUNCTION hookflow_append, hookflow_claim")
        assert found() == {
            "E026": "Database objects of django-hookflow are missing: "
            + ", ".join(
                f"function {name}" for name in FUNCTIONS if name.startswith(("hookflow_append(", "hookflow_claim("))
            )
            + "."
        }


def test_an_overload_beside_one_of_ours() -> None:
    seen = found_after("CREATE FUNCTION hookflow_now(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert seen["E027"].endswith("not its own: function hookflow_now(integer) (an overload of one of our functions).")
    aggregate = "CREATE AGGREGATE hookflow_now(integer) (SFUNC = int4pl, STYPE = integer)"
    assert "function hookflow_now(integer)" in found_after(aggregate)["E027"]


def test_functions_of_the_project_are_its_own_business() -> None:
    assert found_after("CREATE FUNCTION hookflow_report() RETURNS integer LANGUAGE sql AS 'SELECT 1'") == {}


def test_more_than_a_few_are_counted() -> None:
    with undone():
        for function in FUNCTIONS:
            run_sql(with_another_body(function))
        assert found()["E025"].endswith(f" and {len(FUNCTIONS) - 10} more.")
