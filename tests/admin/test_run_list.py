"""The list of runs: columns, filters, search, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.models import WorkflowRun
from django_hookflow.registry import registered_workflows
from tests.admin.conftest import RUNS, count_queries
from tests.admin.history import complete, fail, start
from tests.admin.page import Element, parse

if TYPE_CHECKING:
    from django.test import Client


def open_list(client: Client, **query: Any) -> Element:
    return parse(client.get(RUNS, query))


def ids(page: Element) -> list[str]:
    if not page.all("tbody"):
        return []
    return [row[0] for row in page.one("table", id="result_list").rows()]


def test_it_shows_id_workflow_status_start_and_duration_newest_first(superuser: Client) -> None:
    start("order-1")
    complete(start("order-2", "shop.refund"))

    rows = open_list(superuser).one("table", id="result_list").rows()

    assert [row[:3] for row in rows] == [
        ["order-2", "shop.refund", "Completed"],
        ["order-1", "shop.process", "Pending"],
    ]
    assert rows[0][4].endswith(" s")
    assert rows[1][4] == "–"


def test_an_empty_list_is_a_page(superuser: Client) -> None:
    assert "0 workflow runs" in open_list(superuser).text


def test_the_status_filter_narrows_to_a_status(superuser: Client) -> None:
    start("waits")
    fail(start("failed"))

    assert ids(open_list(superuser, status__exact="failed")) == ["failed"]
    assert ids(open_list(superuser, status__exact="cancelled")) == []


def test_the_workflow_filter_offers_what_is_registered_and_what_is_chosen(superuser: Client) -> None:
    start("a", "shop.process")
    start("b", "shop.gone")

    page = open_list(superuser, workflow="shop.gone")

    (filters,) = (element for element in page.walk() if element.attributes.get("id") == "changelist-filter")
    offered = {link.text for link in filters.all("a")}
    assert ids(page) == ["b"]
    assert {"shop.gone", *registered_workflows()} <= offered
    assert "shop.process" not in offered


def test_a_search_for_a_whole_id_finds_that_run_only(superuser: Client) -> None:
    start("order-1")
    start("order-10")

    assert ids(open_list(superuser, q="order-1")) == ["order-1"]
    assert ids(open_list(superuser, q=" order-10 ")) == ["order-10"]


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("order", ["order b", "order-a"]),
        ("order ", ["order b", "order-a"]),
        ("order b", ["order b"]),
        ("rder", []),
        ("%", []),
        ("o_der", []),
    ],
)
def test_a_search_for_the_beginning_of_an_id_takes_it_literally(superuser: Client, term: str, found: list[str]) -> None:
    start("order-a")
    start("order b")
    start("other")

    assert ids(open_list(superuser, q=term)) == found


@pytest.mark.parametrize("query", [{"q": "\x00"}, {"workflow": "'; --"}, {"workflow": "<b>"}, {"p": "99"}])
def test_odd_queries_are_no_server_errors(superuser: Client, query: dict[str, str]) -> None:
    start()

    assert superuser.get(RUNS, query).status_code in (200, 302)


def test_it_costs_the_same_for_many_runs_and_reads_no_data(superuser: Client) -> None:
    start("first")
    open_list(superuser)
    with count_queries() as few:
        open_list(superuser)
    for number in range(45):
        start(f"more-{number}", f"workflow-{number}", data={"number": number})

    with count_queries() as many:
        page = open_list(superuser)

    on_runs = [sql for sql in many if WorkflowRun._meta.db_table in sql]
    assert len(ids(page)) == 46
    assert len(many) == len(few) <= 5
    assert len(on_runs) == 2  # a count and a page
    assert not any("DISTINCT" in sql or '"data"' in sql or '"result"' in sql for sql in on_runs)
