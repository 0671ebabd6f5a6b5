"""The list of runs: columns, filters, search, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.registry import registered_workflows
from tests.admin.conftest import RUNS, count_queries
from tests.admin.history import add_steps, complete, fail, start
from tests.admin.page import Element, parse

if TYPE_CHECKING:
    from django.test import Client


def open_list(client: Client, **query: Any) -> Element:
    return parse(client.get(RUNS, query))


def rows(page: Element) -> list[dict[str, str]]:
    """The list's rows, by the names of their columns."""
    return [
        {
            cell.attributes["class"].split()[0].removeprefix("field-"): cell.text
            for cell in row.children
            if isinstance(cell, Element) and cell.attributes.get("class", "").startswith("field-")
        }
        for table in page.all("table", id="result_list")
        for row in table.one("tbody").all("tr")
    ]


def ids(page: Element) -> list[str]:
    return [row["run"] for row in rows(page)]


def test_it_shows_id_workflow_status_start_and_duration_newest_first(superuser: Client) -> None:
    start("order-1")
    complete(start("order-2", "shop.refund"))

    shown = rows(open_list(superuser))

    assert [(row["run"], row["workflow"], row["status_badge"]) for row in shown] == [
        ("order-2", "shop.refund", "Completed"),
        ("order-1", "shop.process", "Pending"),
    ]
    assert shown[0]["duration"].endswith((" s", " ms"))
    assert shown[1]["duration"] == "–"


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


@pytest.mark.parametrize(
    "query",
    [
        {"q": "\x00"},
        {"q": "x" * 5_000},
        {"workflow": "'; --"},
        {"workflow": "<b>"},
        {"workflow": "\x00"},
        {"p": "99"},
        {"p": "-1"},
        {"p": "0"},
        {"o": "1.2.-3"},
        {"o": "99"},
        {"all": ""},
        {"status__exact": "unheard-of"},
        {"state": "unheard-of"},
        {"state": "sleeping", "status__exact": "failed"},
        {"when": "unheard-of"},
        {"since": "yesterday"},
        {"since": "2026-02-31"},
        {"until": "0001-01-01T00:00+14:00"},
        {"since": "9999-12-31T23:59:59-12:00"},
        {"since": "9999-12-31T23:59:59Z", "until": "0001-01-01T00:00:00Z"},
    ],
)
def test_odd_queries_are_no_server_errors(superuser: Client, query: dict[str, str]) -> None:
    start()

    assert superuser.get(RUNS, query).status_code in (200, 302)


def test_it_costs_the_same_for_many_runs_and_reads_no_data(superuser: Client) -> None:
    add_steps(start("first"), 3)
    open_list(superuser)
    with count_queries() as few:
        open_list(superuser)
    for number in range(45):
        add_steps(start(f"more-{number}", f"workflow-{number}", data={"number": number}), 30)

    with count_queries() as many:
        page = open_list(superuser)

    assert len(ids(page)) == 46
    # The session and its user; the clock; stuck runs and waiting ones, all counts, the page, its pictures, waits and what
    # keeps them; what relays have left; the summary.
    assert len(many) == len(few) == 12
    assert not any("DISTINCT" in sql or '"data"' in sql or '"result"' in sql for sql in many)
