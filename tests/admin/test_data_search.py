"""Runs found by something in their data or result: what a value stands for, what is refused, what is bounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connection

import django_hookflow
from django_hookflow.admin.run_list import data_search
from django_hookflow.admin.run_list.data_search import CannotSearch, DataTerm, read, search_data
from django_hookflow.admin.run_list.search import WAYS
from django_hookflow.models import WorkflowRun
from tests.admin.conftest import count_queries
from tests.admin.history import complete, start
from tests.admin.test_run_list import ids, open_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.admin.page import Element

pytestmark = pytest.mark.django_db

DATA = {
    "customer": {"name": "Grace Hopper", "vip": True, "phone": None},
    "order": 17,
    "total": "17",
    "lines": [{"article": "A-1"}, {"article": "A-7"}],
    "a.b": {"c d": 'say "hi"'},
    "share": 0.5,
}
#: The statement of the guide; a test is in a transaction, where an index is not made concurrently.
GUIDE = (Path(django_hookflow.__file__).parent / "guides" / "console_lists.md").read_text("utf-8")
INDEX = re.findall(r"CREATE INDEX .*;", GUIDE)[0].replace(" CONCURRENTLY", "")


def note(page: Element) -> str:
    return page.one("p", **{"class": "hookflow-note"}).text


@pytest.mark.parametrize(
    ("term", "is_found"),
    [
        ('data.customer.name:"Grace Hopper"', True),
        ("data.customer.name:Grace Hopper", True),
        ("data.customer.name: Grace Hopper ", True),
        ("data.customer.name:Grace", False),
        ("data.customer.NAME:Grace Hopper", False),
        ("data.order:17", True),
        ('data.order:"17"', False),
        ("data.total:17", True),
        ("data.order:17.0", True),
        ("data.share:0.5", True),
        ("data.customer.vip:true", True),
        ("data.customer.phone:null", True),
        ("data.lines.article:A-7", True),
        ("data.lines.article:A-9", False),
        ('data."a.b"."c d":"say \\"hi\\""', True),
        ("result.parcel:p-1", True),
        ("result.parcel:p-2", False),
        ("data.parcel:p-1", False),
        ("data.order:99999999999999999999999999", False),
        ("data.order:1e5", False),
        ("data.order:'; DROP TABLE x; --", False),
        ("data.order:) || (true", False),
        ("data.customer.name:%s", False),
    ],
)
def test_a_value_is_found_where_it_stands(superuser: Client, term: str, is_found: bool) -> None:
    complete(start("order-1", data=DATA), {"parcel": "p-1"})
    start("other", data={"customer": {"name": "Ada"}})

    assert ids(open_list(superuser, q=term)) == (["order-1"] if is_found else [])


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ('data.name:"Grace', "begins with a quote but is not a valid JSON string"),
        ("data.name:[1]", "A list or an object cannot be searched for"),
        ('data."\\x":1', "is not a path: write keys"),
        ('data.name:"\\ud800"', "PostgreSQL does not accept this"),
        ('data.name:"\\u0000"', "PostgreSQL does not accept this"),
    ],
)
def test_what_cannot_be_searched_for_says_so(superuser: Client, term: str, words: str) -> None:
    start("order-1", data=DATA)

    page = open_list(superuser, q=term)

    assert ids(page) == []
    assert words in note(page)


def test_a_run_whose_id_looks_like_a_question_is_found_by_it(superuser: Client) -> None:
    start("data.order:17", data={"order": 1})
    start("order-17", data={"order": 17})

    assert ids(open_list(superuser, q="data.order:17")) == ["data.order:17"]


def test_who_may_not_see_payloads_cannot_ask_what_is_in_them(staff: Callable[..., Client]) -> None:
    start("order-1", data=DATA)

    page = open_list(staff("view_workflowrun"), q="data.order:17")

    assert ids(page) == []
    assert "Searching in data needs the permission" in note(page)


def test_the_newest_that_the_filters_leave_are_looked_through_and_it_says_how_many(
    superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_search, "LOOKED_AT", (2, 1))
    start("old", "shop.one", data={"order": 17})
    for number in range(3):
        start(f"new-{number}", "shop.two", data={"order": 17})

    page = open_list(superuser, q="data.order:17")
    assert ids(page) == ["new-2", "new-1"]
    assert "Searched the data of the newest 2 runs that match the filters." in note(page)
    assert ids(open_list(superuser, q="data.order:17", workflow="shop.one")) == ["old"]


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    start("order-1", data=DATA)
    monkeypatch.setattr(data_search, "SECONDS", 0.05)
    question = DataTerm.read("data.order:17")
    assert question is not None

    found, words = search_data(question, WorkflowRun.objects.extra(where=["pg_sleep(60) IS NOT NULL"]))

    assert found == []
    assert words == "Gave up after 0.05 s: choose a workflow, or a shorter period."


def test_with_the_index_all_runs_are_searched_and_the_plan_uses_it(
    superuser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_search, "LOOKED_AT", (1, 1))
    for number in range(3):
        start(f"order-{number}", data={"order": number})
    with connection.cursor() as cursor:
        cursor.execute(INDEX)
        # Of three rows reading them all is the shorter way; whether the index could serve is what is asked here.
        cursor.execute("SET LOCAL enable_seqscan = off")

    page = open_list(superuser, q="data.order:0")

    assert ids(page) == ["order-0"]
    assert note(page) == "Searched for “data.order:0”. Clear the search"
    question = DataTerm.read("data.order:0")
    assert question is not None
    assert "Bitmap Index Scan on shop_runs_by_data" in plan_of(question)


def plan_of(question: DataTerm) -> str:
    with count_queries() as statements:
        read(WorkflowRun.objects.order_by().values_list("pk", "created_at", question.column), question)
    (statement,) = [sql for sql in statements if "@?" in sql]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {statement}")
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.parametrize("term", ["data", "data:", "database:5", "data.:x", "data..a:x", "results.a:1", "run-1", ""])
def test_what_asks_for_nothing_in_the_data(term: str) -> None:
    assert DataTerm.read(term) is None


def test_a_question_without_keys_is_for_the_whole_value(superuser: Client) -> None:
    complete(start("order-1"), "fine")
    assert ids(open_list(superuser, q="result:fine")) == ["order-1"]


def test_odd_values_are_refused_in_words_or_searched_for() -> None:
    for value in ("[", "{", '"', '"a', '"\\q"'):
        with pytest.raises(CannotSearch):
            DataTerm.read(f"data.a:{value}")


def test_every_way_of_searching_is_in_the_guide() -> None:
    for way in WAYS:
        assert f"| `{way}:" in GUIDE
