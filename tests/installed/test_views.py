"""Views: each server writes them in its own words, and one that was replaced is found all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from django_hookflow.installed.shipped import shipped
from tests.installed.database import found, found_after, rows, run_sql, undone

pytestmark = pytest.mark.django_db

VIEWS = sorted(name for name, relation in shipped().relations.items() if relation.kind == "view")


def definition(view: str) -> str:
    ((text,),) = rows("SELECT pg_get_viewdef(%s::regclass)", view)
    return str(text).rstrip(";")


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_that_was_replaced(view: str) -> None:
    seen = found_after(f"CREATE OR REPLACE VIEW {view} AS {definition(view)} LIMIT 0")
    assert seen == {
        "E025": f"Database objects of django-hookflow differ from this release: view {view} (different query)."
    }


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_whose_options_were_changed(view: str) -> None:
    assert f"view {view} (different options)" in found_after(f"ALTER VIEW {view} SET (security_barrier)")["E025"]


def test_a_view_that_is_gone_or_became_a_table() -> None:
    assert found_after("DROP VIEW hookflow_operations")["E026"].endswith("are missing: view hookflow_operations.")
    seen = found_after("DROP VIEW hookflow_operations; CREATE TABLE hookflow_operations (run_id text)")
    assert "view hookflow_operations (it is a table)" in seen["E025"]


def test_a_trigger_or_rule_on_a_view() -> None:
    made = "CREATE RULE planted AS ON DELETE TO hookflow_operations DO INSTEAD NOTHING"
    assert "rule planted on hookflow_operations" in found_after(made)["E027"]


@pytest.mark.parametrize("view", VIEWS)
def test_words_of_another_version_mean_the_same(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the file has parentheses that no server writes."""
    ours = shipped()
    wanted = ours.relations[view]
    other = replace(ours, relations={**ours.relations, view: replace(wanted, query=f"({wanted.query.rstrip(';')});")})
    monkeypatch.setattr("django_hookflow.installed.comparing.shipped", lambda: other)
    assert found() == {}
    changed = found_after(f"CREATE OR REPLACE VIEW {view} AS {definition(view)} LIMIT 0")
    assert f"view {view} (different query)" in changed["E025"]
    with undone():
        run_sql("SET LOCAL transaction_read_only = on")
        seen = found()
    assert seen.keys() == {"I025"}  # of other views as well, where the files are in the words of another version
    assert f"view {view}" in seen["I025"]
