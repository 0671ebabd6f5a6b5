"""A hundred thousand runs: whatever is asked of the list, no statement reads a table from one end to the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from benchmarks.listing import VIEWS, fill
from django_hookflow.admin.counts import CAP
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.page import parse
from tests.admin.test_run_list import ids
from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import DjangoDbBlocker

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

MANY = 100_000
#: Tables that grow with the runs. The outbox has only those that live, and a leaf through all of it can be the best way.
GROWING = {"workflowrun", "wait", "deadletterentry", "head", "event", "event_all"}
EMPTY = {
    "waiting",
    "of no workflow there is",
    "older runs",
    "search: how no id begins",
    "search: no step",
    "search: an id with a slip",
}


@pytest.fixture(scope="module")
def client(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Client]:
    """Somebody who looks at many runs, made once for all tests of this file and gone after them."""
    with django_db_blocker.unblock():
        fill(MANY)
        user = User.objects.create_superuser("looks at many")
        client = Client()
        client.force_login(user)
        yield client
        client.logout()
        user.delete()
        with connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE django_hookflow_workflowrun, django_hookflow_outbox, django_hookflow_event CASCADE"
            )
            cursor.execute("TRUNCATE django_hookflow_deadletterentry, django_hookflow_wait")


def scans_of(statement: str) -> list[tuple[str, str]]:
    """Each scan of a table in the plan of a statement: how, and of what."""
    (row,) = ask(f"EXPLAIN (FORMAT JSON) {statement}")
    explained = row["QUERY PLAN"]
    plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    return [(node["Node Type"], node["Relation Name"]) for node in nodes_of(plan) if "Relation Name" in node]


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]


@pytest.mark.parametrize("name", VIEWS)
def test_every_statement_of_every_view_goes_by_an_index(client: Client, name: str) -> None:
    with count_queries() as statements:
        page = parse(client.get(RUNS, VIEWS[name]))

    assert bool(ids(page)) == (name not in EMPTY)
    assert_by_index(statements)


@pytest.mark.parametrize(
    "query",
    [{}, {"when": "week"}, {"workflow": "shop.flow-3"}, {"q": "cause:eccbc87e4b5ce2fe"}, {"q": "error:Declined"}],
)
def test_every_statement_of_the_dead_letters_goes_by_an_index(client: Client, query: dict[str, str]) -> None:
    with count_queries() as statements:
        page = parse(client.get(DEAD_LETTERS, query))

    assert "failures, " in page.one("details", **{"class": "hookflow-causes"}).text
    assert_by_index(statements)


@pytest.mark.parametrize("query", [{}, {"when": "week"}, {"when": "day", "workflow": "shop.flow-3"}])
def test_every_statement_of_the_steps_goes_by_an_index(client: Client, query: dict[str, str]) -> None:
    with count_queries() as statements:
        page = parse(client.get(f"{RUNS}steps/", query))

    assert (
        page.one("table", **{"class": "hookflow-steps-table"}).rows()[0][0].startswith(("charge", "send", "validate"))
    )
    assert_by_index(statements)


def assert_by_index(statements: list[str]) -> None:
    of_ours = [statement for statement in statements if "django_hookflow_" in statement]
    scans = {statement: scans_of(statement) for statement in of_ours}
    assert any(scans.values())
    for statement, how in scans.items():
        whole = [
            table for node, table in how if node == "Seq Scan" and table.removeprefix("django_hookflow_") in GROWING
        ]
        assert not whole, statement


def test_what_is_not_read_to_its_end_is_counted_as_a_thousand_and_more(client: Client) -> None:
    page = parse(client.get(RUNS))

    tabs = {link.text for link in page.one("nav", **{"aria-label": "Runs by status"}).all("a")}
    (row,) = ask(
        "SELECT count(*) AS n FROM django_hookflow_outbox WHERE kind = 'turn' AND due_at < now() - interval '5 min'"
    )
    assert row["n"] > 0
    assert {
        "All 1,000+",
        "Failed 1,000+",
        "Sleeping 1,000+",
        "Waiting 0",
        "Retrying 100",
        "Diverged 100",
        "Paused 200",
        f"Stuck {row['n']}",
    } <= tabs
    assert "1,000+ workflow runs" in page.text


def test_the_last_page_leads_on_to_older_runs_and_none_is_passed_over(client: Client) -> None:
    last = parse(client.get(f"{RUNS}?p=20&status__exact=failed"))
    (link,) = last.all("a", **{"class": "hookflow-beyond"})

    older = parse(client.get(f"{RUNS}{link.attributes['href']}"))

    assert link.text == "Older runs ›"
    assert ids(older)[0] == ids(last)[-1]
    assert not {*ids(last)[:-1]} & {*ids(older)}


def test_a_summary_of_more_than_the_sample_says_that_it_is_one(client: Client) -> None:
    page = parse(client.get(RUNS, {"when": "week"}))

    assert page.one("details", **{"class": "hookflow-summary"}).text.startswith("The newest 5,000 runs, a sample")


def test_a_search_that_finds_too_many_says_so(client: Client) -> None:
    page = parse(client.get(RUNS, {"q": "order-"}))

    assert "These are the first 1,000" in page.one("p", **{"class": "hookflow-note"}).text
    assert "1,000 workflow runs" in page.text


def test_oldest_first_begins_with_the_first_and_leads_on_to_newer_runs(client: Client) -> None:
    first = parse(client.get(RUNS, VIEWS["oldest first"]))
    last = parse(client.get(f"{RUNS}?o=5&p=20"))
    (link,) = last.all("a", **{"class": "hookflow-beyond"})

    newer = parse(client.get(f"{RUNS}{link.attributes['href']}"))

    assert ids(first)[0] == "order-000000001"
    assert link.text == "Newer runs ›"
    assert ids(newer)[0] == ids(last)[-1] == "order-000001000 customer-0"


@pytest.mark.parametrize(
    "name", [name for name in VIEWS if name.startswith(("sleeping", "waiting", "retrying", "paused", "in doubt"))]
)
def test_runs_that_wait_are_found_by_reading_few_rows(client: Client, name: str) -> None:
    """Of 100,000 runs 5,000 run: half of them sleep, a hundred are about to try again."""
    with count_queries() as statements:
        parse(client.get(RUNS, VIEWS[name]))

    of_waits = [sql for sql in statements if "django_hookflow_wait" in sql or "count(*)" in sql]
    assert of_waits
    for statement in of_waits:
        (row,) = ask(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        explained = row["QUERY PLAN"]
        plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
        for node in nodes_of(plan):
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            assert read <= 5 * CAP, (node, statement)
