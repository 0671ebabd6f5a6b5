"""The files of ``sql/installed``: what was written is read again, and running them puts right what was changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.installed.definitions import Relation, Routine, Trigger, parse
from django_hookflow.installed.shipped import rendered, shipped
from django_hookflow.sql import load
from tests.installed.database import ROW_GUARD, found, rows, run_sql, undone

FILES = sorted(set(shipped().files.values()))
LINES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"), max_size=200)
TRIGGERS = st.builds(
    Trigger,
    name=st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    shape=st.sampled_from(
        [
            "BEFORE DELETE OR UPDATE ON * FOR EACH ROW EXECUTE FUNCTION guard()",
            "AFTER INSERT ON * REFERENCING NEW TABLE AS new FOR EACH STATEMENT WHEN ((1 = 1)) EXECUTE FUNCTION f('a', 'b')",
        ]
    ),
    state=st.sampled_from("OARD"),
)


@given(LINES, st.booleans())
def test_a_function_comes_back_as_it_was(body: str, as_owner: bool) -> None:
    text = f"CREATE OR REPLACE FUNCTION f(a integer)\n RETURNS text\n LANGUAGE sql\nAS $function${body}$function$\n"
    made = Routine("f(integer)", text, as_owner)
    assert parse(made.render()) == made


@given(st.lists(TRIGGERS, max_size=3, unique_by=lambda trigger: trigger.name))
def test_a_table_comes_back_with_its_triggers(triggers: list[Trigger]) -> None:
    made = Relation("t", "table", tuple(triggers))
    assert parse(made.render()) == made


def test_a_view_comes_back_with_options_and_triggers() -> None:
    trigger = Trigger("t", "INSTEAD OF INSERT ON * FOR EACH ROW EXECUTE FUNCTION f()", "O")
    for options in ("", "security_barrier=true, check_option=local"):
        made = Relation("v", "view", (trigger,), query=" SELECT 1 AS a\n   FROM t;", options=options)
        assert parse(made.render()) == made


def test_an_overloaded_function_has_a_file_for_each_list_of_types() -> None:
    made = [Routine(identity, "CREATE …") for identity in ("f(text, uuid[])", "f()", "g(text)")]
    assert set(rendered(made, [])) == {"f--text-uuid-array.sql", "f--nothing.sql", "g.sql"}


def test_every_file_is_named_after_what_it_makes() -> None:
    assert rendered(list(shipped().routines.values()), list(shipped().relations.values())).keys() == set(FILES)


@pytest.mark.django_db
def test_running_the_files_puts_right_what_was_changed() -> None:
    with undone():
        run_sql("DROP FUNCTION hookflow_claim; DROP VIEW hookflow_operations")
        for trigger, table in rows(
            "SELECT tgname, tgrelid::regclass::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE relname LIKE 'django_hookflow%' AND NOT relispartition AND NOT tgisinternal"
        ):
            run_sql(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
        run_sql(f"DROP TRIGGER {ROW_GUARD} ON django_hookflow_event")
        assert found().keys() == {"E021", "E026"}
        for file in FILES:
            run_sql(load(f"installed/{file.removesuffix('.sql')}"))
        assert found() == {}
