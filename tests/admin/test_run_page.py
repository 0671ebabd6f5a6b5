"""One run's page: facts, steps, events, failure, and what it costs when a run is long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.staticfiles import finders
from django.db import connection

from django_hookflow.events import log
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.history import ERROR, add, add_steps, complete, fail, start
from tests.admin.page import Element, facts, parse, section

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client


def open_run(client: Client, run: UUID, **query: Any) -> Element:
    return parse(client.get(f"{RUNS}{run}/change/", query))


def test_a_completed_run_shows_what_it_was_given_and_what_it_returned(superuser: Client) -> None:
    run = start("order-1", data={"order": 7})
    complete(run, result={"paid": True})

    shown = facts(open_run(superuser, run))

    assert shown["Run id"] == "order-1"
    assert shown["Workflow"] == "shop.process"
    assert shown["Status"] == "Completed"
    assert shown["Data"] == '{"order": 7}'
    assert shown["Result"] == '{"paid": true}'
    assert shown["Completed"] != "–"


def test_steps_stand_in_order_with_their_results(superuser: Client) -> None:
    run = start()
    add(run, "step.completed", {"kind": "run", "attempt": 3, "result": [1, "zwei"]}, "validate")
    add(run, "step.completed", {"kind": "atomic", "attempt": 1, "result": None}, "ledger")

    steps = section(open_run(superuser, run), "steps")

    rows = [[*row[:4], row[5]] for row in steps.rows()]
    assert steps.one("h2").text == "Steps (2)"
    assert rows == [["2", "validate", "run", "3", '[1, "zwei"]'], ["3", "ledger", "atomic", "1", "None"]]


def test_events_stand_in_order_with_actor_and_payload(superuser: Client) -> None:
    run = start(actor="alice", data={"b": 1, "a": 1.50})
    add(run, "run.cancelled", {"reason": "wrong order"}, actor="bob")

    events = section(open_run(superuser, run), "events")

    rows = events.rows()
    assert events.one("h2").text == "Events (2)"
    assert [row[:4] for row in rows] == [["1", "run.triggered", "", "alice"], ["2", "run.cancelled", "", "bob"]]
    assert rows[1][5] == '{"reason": "wrong order"}'


def test_a_long_payload_is_folded_and_indented(superuser: Client) -> None:
    run = start(data={"lines": [{"article": f"article-{n}", "amount": n} for n in range(5)]})

    details = section(open_run(superuser, run), "events").one("details")

    payload = json.loads(details.one("pre").raw_text)
    assert "open" not in details.attributes
    assert payload["data"]["lines"][4] == {"article": "article-4", "amount": 4}
    assert details.one("pre").raw_text.startswith('{\n  "run_id"')
    assert details.one("summary").text.startswith('{ "run_id": "order-1"')


def test_a_failed_run_shows_error_and_traceback_and_leads_to_its_dead_letter(superuser: Client) -> None:
    run = start()
    fail(run)

    page = open_run(superuser, run)

    assert page.one("p", **{"class": "hookflow-error"}).text == "the card was declined"
    assert page.one("pre", **{"class": "hookflow-traceback"}).raw_text == ERROR["traceback"]
    assert "In step charge, after 4 attempts." in page.text
    (link,) = [a.attributes["href"] for a in page.all("a") if a.text == "The dead letter of this failure"]
    assert link.startswith(DEAD_LETTERS)
    assert facts(parse(superuser.get(link)))["Run id"] == "order-1"


def test_who_may_not_see_dead_letters_gets_no_link_to_one(staff: Callable[..., Client]) -> None:
    run = start()
    fail(run)

    page = open_run(staff("view_workflowrun"), run)

    assert page.one("pre", **{"class": "hookflow-traceback"}).raw_text == ERROR["traceback"]
    assert not [a for a in page.all("a") if a.text == "The dead letter of this failure"]


def test_a_run_that_failed_and_was_replayed_shows_no_error(superuser: Client) -> None:
    run = start()
    fail(run)
    add(run, "run.replayed", {"failed_seq": 3})

    page = open_run(superuser, run)

    assert facts(page)["Status"] == "Running"
    assert page.all("pre", **{"class": "hookflow-traceback"}) == []


def test_a_sleeping_run_says_when_it_wakes(superuser: Client) -> None:
    run = start()
    add(run, "sleep.started", {"seconds": 3600}, "wait")

    assert facts(open_run(superuser, run))["Wakes"] != "–"


def test_a_redacted_payload_is_shown_as_redacted(superuser: Client) -> None:
    run = start(data={"iban": "DE89 3704"})
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_hookflow_event SET payload = NULL, salt = NULL, "
            "payload_digest = sha256(salt || convert_to(payload::text, 'UTF8')) WHERE run_uid = %s",
            [run],
        )

    assert section(open_run(superuser, run), "events").rows()[0][5] == "redacted"


def test_a_huge_result_is_shown_in_part_and_not_fetched_whole(superuser: Client) -> None:
    run = start()
    add_steps(run, 20, result="x" * 200_000)
    complete(run, result="y" * 900_000)

    response = superuser.get(f"{RUNS}{run}/change/")

    page = parse(response)
    assert len(response.content) < 400_000
    assert "The beginning of 200002 characters." in section(page, "steps").text
    assert "The beginning of 900002 characters." in facts(page)["Result"]


@pytest.mark.parametrize(
    "value", ["[" * 150 + "]" * 150, json.dumps("\\u0000 & <b>"), "1e400", "-0.0", '"' + "ü" * 300 + '"']
)
def test_values_of_any_kind_are_shown(superuser: Client, value: str) -> None:
    run = start()
    log.append(run, None, [log.NewEvent("step.completed", f'{{"kind":"run","result":{value}}}', "odd")])

    assert section(open_run(superuser, run), "steps").rows()[0][1] == "odd"


def test_long_lists_are_paged_each_by_itself(superuser: Client) -> None:
    run = start()
    add_steps(run, 250)

    first = open_run(superuser, run)
    second = open_run(superuser, run, steps="2", events="2")

    assert [len(section(first, name).rows()) for name in ("steps", "events")] == [100, 200]
    assert [len(section(second, name).rows()) for name in ("steps", "events")] == [100, 51]
    assert section(second, "steps").rows()[0][1] == "step-100"
    assert section(second, "events").one("a", rel="prev").attributes["href"] == "?steps=2&events=1#events"
    assert section(second, "steps").one("a", rel="next").attributes["href"] == "?steps=3&events=2#steps"
    assert section(second, "events").all("a", rel="next") == []


@pytest.mark.parametrize("number", ["0", "-1", "999", "x", "", "1e9", "9" * 30])
def test_a_page_that_does_not_exist_is_the_nearest(superuser: Client, number: str) -> None:
    run = start()
    add_steps(run, 3)

    assert len(section(open_run(superuser, run, steps=number), "steps").rows()) == 3


def test_it_costs_the_same_for_a_long_run(superuser: Client) -> None:
    short, long = start("short"), start("long")
    add_steps(short, 1)
    add_steps(long, 300)
    fail(short)
    fail(long)
    open_run(superuser, short)

    with count_queries() as few:
        open_run(superuser, short)
    with count_queries() as many:
        open_run(superuser, long)

    assert len(many) == len(few) <= 9


@pytest.mark.parametrize("key", ["0198c0de-0000-7000-8000-000000000000", "no-uuid", "1"])
def test_an_unknown_run_leads_back_with_a_message(superuser: Client, key: str) -> None:
    response = superuser.get(f"{RUNS}{key}/change/", follow=True)

    assert "doesn’t exist" in parse(response).text


def test_the_workflow_links_to_its_runs(superuser: Client) -> None:
    run = start("a", "shop.process & more?")
    start("b", "shop.other")

    (link,) = [a.attributes["href"] for a in open_run(superuser, run).all("a") if a.text == "shop.process & more?"]

    assert [row[0] for row in parse(superuser.get(link)).one("table", id="result_list").rows()] == ["a"]


def test_the_style_sheet_is_linked_and_takes_all_colours_from_the_theme(superuser: Client) -> None:
    page = open_run(superuser, start())

    (link,) = {e.attributes["href"] for e in page.all("link", rel="stylesheet") if "hookflow" in e.attributes["href"]}
    found = finders.find(link.removeprefix("/static/"))
    assert isinstance(found, str)
    rules = Path(found).read_text(encoding="utf-8")
    colours = [line for line in rules.splitlines() if "color:" in line or "background:" in line]
    assert colours
    assert all("var(--" in line for line in colours)
