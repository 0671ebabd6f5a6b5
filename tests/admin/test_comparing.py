"""Two runs of a workflow side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.admin.run_page.comparing import STEPS_SHOWN, merged
from tests.admin import history
from tests.admin.conftest import RUNS, count_queries
from tests.admin.page import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client

pytestmark = pytest.mark.django_db


def completed(run_id: str, version: str = "v1", **results: Any) -> UUID:
    run = history.start(run_id, data={"order": run_id})
    history.add(run, "turn.started", worker="w", version=version)
    for name, result in results.items():
        history.add(run, "step.completed", name, kind="run", attempt=1, took=0.01, result=result)
    history.add(run, "run.completed", result="fine")
    return run


def open_comparison(client: Client, run: UUID, **query: str) -> Any:
    return parse(client.get(f"{RUNS}{run}/compare/", query))


def differences(page: Any) -> dict[str, str]:
    """What each step differs in."""
    table = page.one("table", **{"class": "hookflow-rows hookflow-compare hookflow-compare-steps"})
    return {row[0]: row[1] for row in table.rows()}


def test_a_failed_run_beside_the_last_that_completed(superuser: Client) -> None:
    completed("older", validate="ok", charge={"paid": True}, ship=1)
    last = completed("last", validate="ok", charge={"paid": True}, ship=1)
    run = history.start("broken", data={"order": "broken"})
    history.add(run, "turn.started", worker="w", version="v2")
    history.add(run, "step.completed", "validate", kind="run", attempt=1, took=3.0, result="ok")
    history.add(run, "step.completed", "new-step", kind="run", attempt=1, took=0.01, result="x")
    history.fail_attempt(run)
    history.fail(run)

    page = open_comparison(superuser, run)

    assert differences(page) == {
        "validate": "took",
        "new-step": "missing",
        "charge": "state, error, result",
        "ship": "missing",
    }
    table = page.one("table", **{"class": "hookflow-rows hookflow-compare"})
    shown = {row[0]: row[1:] for row in table.rows()}
    assert shown["Code version"] == ["v2", "v1"]
    assert shown["Status"] == ["Failed", "Completed"]
    assert shown["Error"] == ["shop.errors.CardDeclined", "–"]
    marked = [e.one("th").text for e in table.all("tr", **{"class": "hookflow-differs"})]
    assert marked == ["Status", "Code version", "Error", "Data", "Result"]
    assert f"{RUNS}{last}/change/" in [a.attributes["href"] for a in page.all("a")]


def test_with_a_run_that_is_named(superuser: Client) -> None:
    one = completed("one", validate=1, charge=2)
    other = completed("other", validate=1, charge=3)
    completed("last", validate=1)
    for name in ("other", str(other)):
        assert differences(open_comparison(superuser, one, **{"with": name})) == {"validate": "", "charge": "result"}
    assert (
        "All 2 steps match."
        in open_comparison(superuser, one, **{"with": str(completed("same", validate=1, charge=2))}).text
    )


def test_what_there_is_nothing_to_compare_with(superuser: Client) -> None:
    run = history.start("alone")
    history.start("elsewhere", workflow_id="shop.other")
    asked = {
        "": "No other run of this workflow has completed.",
        "alone": "That is this run.",
        str(run): "That is this run.",
        "nobody <b>": "There is no run “nobody <b>”.",
        "a\0": "There is no run",
        "x" * 5_000: "There is no run",
        "elsewhere": "Run elsewhere belongs to another workflow, shop.other",
    }
    for name, words in asked.items():
        assert words in open_comparison(superuser, run, **{"with": name}).text


def test_what_steps_returned_takes_the_permission_to_see_it(staff: Callable[..., Client]) -> None:
    one, _ = completed("one", charge="s3cret-1"), completed("two", charge="s3cret-2")
    page = open_comparison(staff("view_workflowrun"), one)
    assert "s3cret" not in page.text
    assert differences(page) == {"charge": ""}


def test_it_takes_the_permission_to_see_runs(staff: Callable[..., Client]) -> None:
    run = completed("one", charge=1)
    assert staff("view_deadletterentry").get(f"{RUNS}{run}/compare/").status_code == 403


def test_long_runs_are_compared_up_to_a_number_of_steps_in_as_many_queries(superuser: Client) -> None:
    short, long = completed("short", a=1), history.start("long")
    history.add_steps(long, 2_000, result={"text": "x" * 3_000})
    history.complete(long)
    other = completed("short too", a=1)
    open_comparison(superuser, short)
    with count_queries() as few:
        open_comparison(superuser, short, **{"with": "short too"})
    assert other != short
    with count_queries() as many:
        answer = superuser.get(f"{RUNS}{long}/compare/", {"with": "short"})
    assert len(many) <= len(few)
    assert f"The first {STEPS_SHOWN + 1} are compared." in answer.content.decode()
    assert len(answer.content) < 2_000_000


def test_steps_stand_in_their_order() -> None:
    assert merged("abc", "xabyc") == ["x", "a", "b", "y", "c"]
    assert merged("", "ab") == ["a", "b"]
    assert merged("ab", "ba") == ["a", "b"]
    assert merged("a", "") == ["a"]
