"""One run's page: what it is doing, its steps and values, its failure, and what it costs when a run is long."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import override_settings

from django_hookflow.events import log
from django_hookflow.models import WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.history import ERROR, add, add_steps, complete, fail, fail_attempt, sleep, start
from tests.admin.page import Element, facts, parse, section, status

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client


def open_run(client: Client, run: UUID, **query: Any) -> Element:
    return parse(client.get(f"{RUNS}{run}/change/", query))


def sentence(page: Element) -> str:
    return page.one("span", id="hookflow-sentence").text


def test_a_completed_run_shows_what_it_was_given_and_what_it_returned(superuser: Client) -> None:
    run = start("order-1", data={"order": 7}, actor="alice")
    complete(run, result={"paid": True})

    page = open_run(superuser, run)

    shown = facts(page)
    assert (status(page), sentence(page)[:12]) == ("Completed", "Completed in")
    assert page.one("head").one("title").text.startswith("Run order-1 |")
    assert shown["Run id"] == "order-1 Copy"
    assert shown["Workflow"] == "shop.process"
    assert shown["Data"] == '{"order": 7}'
    assert shown["Result"] == '{"paid": true}'
    assert shown["Triggered"].endswith(" by alice")
    assert shown["Turns"] == "1"
    assert shown["Ended"]


def test_steps_stand_in_order_with_their_results(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=3, result=[1, "zwei"])
    add(run, "step.completed", "ledger", kind="atomic", attempt=1, result=None)

    steps = section(open_run(superuser, run), "steps")

    rows = [[*row[:4], row[-1]] for row in steps.rows()]
    assert steps.one("h2").text == "Steps (2)"
    assert rows == [
        ["validate", "run", "completed", "3", '[1, "zwei"]'],
        ["ledger", "atomic", "completed", "1", "null"],
    ]


def test_a_failed_run_shows_error_and_traceback_and_leads_to_its_dead_letter(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    fail_attempt(run, attempt=4, of=4)
    fail(run)

    page = open_run(superuser, run)

    failure = page.one("section", **{"aria-labelledby": "error-title"})
    assert sentence(page) == "Failed at charge, attempt 4 of 4, in the dead letters."
    assert failure.one("p", **{"class": "hookflow-error"}).text == "the card was declined"
    assert failure.one("p", **{"class": "hookflow-error-type"}).text == "shop.errors.CardDeclined"
    assert failure.one("p", **{"class": "hookflow-frame"}).text == "at shop.py:7 in charge"
    assert failure.one("pre", **{"class": "hookflow-traceback"}).raw_text == ERROR["traceback"]
    assert "open" not in failure.one("details").attributes
    assert "In step charge, after 4 attempts." in failure.text
    (link,) = [a.attributes["href"] for a in page.all("a") if a.text == "Dead letter"]
    assert link.startswith(DEAD_LETTERS)
    assert facts(parse(superuser.get(link)))["Run id"] == "order-1"


def test_the_error_is_that_of_the_step_the_run_failed_in(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    fail_attempt(run)
    fail(run, error={**ERROR, "message": "step 'charge' failed after 1 attempt: the card was declined"}, attempts=1)

    failure = open_run(superuser, run).one("section", **{"aria-labelledby": "error-title"})

    assert failure.one("p", **{"class": "hookflow-error"}).text == "the card was declined"
    assert "after 1 attempt." in failure.text


def test_a_divergence_tells_of_no_attempt(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add(run, "run.diverged", "wrap", error={**ERROR, "type": "Diverged"}, recorded="pack", asked="wrap")

    failure = open_run(superuser, run).one("section", **{"aria-labelledby": "error-title"})

    assert failure.one("h2").text == "Error in wrap"
    assert "attempt" not in failure.text


def test_who_may_not_see_dead_letters_gets_no_link_to_one(staff: Callable[..., Client]) -> None:
    run = start()
    fail(run)

    page = open_run(staff("view_workflowrun", "view_payload_workflowrun"), run)

    assert page.one("pre", **{"class": "hookflow-traceback"}).raw_text == ERROR["traceback"]
    assert not [a for a in page.all("a") if a.text == "Dead letter"]


def test_who_may_not_see_payloads_sees_that_they_are_withheld(staff: Callable[..., Client]) -> None:
    run = start(data={"iban": "DE89 3704"})
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=1, result="DE89 3704")
    fail_attempt(run, error={**ERROR, "message": "DE89 3704"})
    fail(run, error={**ERROR, "message": "DE89 3704", "traceback": "DE89 3704"})
    client = staff("view_workflowrun")

    response = client.get(f"{RUNS}{run}/change/")

    assert b"DE89" not in response.content
    assert b"CardDeclined" in response.content
    assert facts(parse(response))["Data"].startswith("Hidden")
    assert section(parse(response), "steps").rows()[0][-1] == "withheld"
    assert client.get(f"{RUNS}{run}/events.json").status_code == 403


def test_an_attempt_that_failed_is_shown_while_it_is_to_be_tried_again(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    fail_attempt(run, retry_in=3600, of=4)

    page = open_run(superuser, run)

    assert sentence(page).startswith("Failed at charge, attempt 1 of 4; retries in ")
    assert page.one("h2", id="error-title").text == "Latest error in charge, will be retried"
    assert page.one("p", **{"class": "hookflow-error"}).text == "the card was declined"


def test_a_run_that_failed_and_was_replayed_shows_no_error_and_who_replayed_it(superuser: Client) -> None:
    run = start()
    fail(run)
    add(run, "run.replayed", actor="ada", failed_seq=3, reason="the bank is back")

    page = open_run(superuser, run)

    assert status(page) == "Running"
    assert page.all("pre", **{"class": "hookflow-traceback"}) == []
    assert page.one("ul", **{"class": "hookflow-acts"}).text == "run.replayed by ada: the bank is back"


def test_a_run_and_the_one_that_replays_it_lead_to_each_other(superuser: Client) -> None:
    run = start("order-1")
    fail(run)
    again = start(f"replay-1-of-{run}")
    add(run, "run.restarted", failed_seq=3, run_id=f"replay-1-of-{run}")

    assert facts(open_run(superuser, run))["Replayed by"] == f"replay-1-of-{run}"
    page = open_run(superuser, again)
    assert facts(page)["Replays"] == "order-1"
    assert [a.attributes["href"] for a in page.all("a") if a.text == "order-1"] == [f"{RUNS}{run}/change/"]


def test_a_sleeping_run_says_where_it_sleeps_and_when_it_wakes(superuser: Client) -> None:
    run = start()
    sleep(run)

    page = open_run(superuser, run)

    assert sentence(page) in ("Sleeping in wait, wakes in 1 h.", "Sleeping in wait, wakes in 59 min 59 s.")
    assert facts(page)["Wakes"]


def test_what_the_workflow_said_last_of_its_progress(superuser: Client, staff: Callable[..., Client]) -> None:
    run = start()
    assert "Progress" not in facts(open_run(superuser, run))
    add(run, "run.progressed", done=2, total=10)
    add(run, "run.progressed", done=3, total=10, note="booked")

    assert facts(open_run(superuser, run))["Progress"] == "3 of 10, booked"
    assert facts(open_run(staff("view_workflowrun"), run))["Progress"] == "3 of 10"


def test_a_redacted_value_is_marked_and_what_was_kept_of_it_is_shown(superuser: Client) -> None:
    run = start(data={"iban": "DE89 3704", "order": 7})
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="run", attempt=1, result={"iban": "DE89 3704"})
    complete(run)
    WorkflowRun.objects.get(pk=run).redact("data.iban", reason="asked for", actor="ada")
    WorkflowRun.objects.get(pk=run).redact("result", reason="asked for", actor="ada")

    response = superuser.get(f"{RUNS}{run}/change/")

    page = parse(response)
    assert b"DE89" not in response.content
    assert facts(page)["Data"].startswith("redacted ")
    assert '"order":7' in facts(page)["Data"].replace(" ", "")
    assert section(page, "steps").rows()[0][-1].startswith("redacted")


def test_a_redacted_step_still_shows_its_kind_its_attempts_and_how_long_it_took(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "validate", kind="atomic", attempt=1, took=0.02, result={"iban": "DE89 3704"})
    fail_attempt(run, retry_in=20, took=1.5, of=3)
    add(run, "step.retried", "charge", attempt=2)
    add(run, "turn.started", worker="w")
    fail_attempt(run, attempt=2, took=2, of=2)
    fail(run, attempts=2)
    before = section(open_run(superuser, run), "steps").rows()
    WorkflowRun.objects.get(pk=run).redact(reason="asked for", actor="ada")

    response = superuser.get(f"{RUNS}{run}/change/")

    page = parse(response)
    rows = section(page, "steps").rows()
    assert [row[:8] for row in rows] == [row[:8] for row in before]
    assert [row[1:4] for row in rows] == [["atomic", "completed", "1"], ["run", "failed", "2"]]
    assert [row[6] for row in rows] == ["20 ms", "3.5 s"]
    assert b"DE89" not in response.content
    assert b"the card was declined" not in response.content
    assert rows[0][-1] == "redacted"
    failure = page.one("section", **{"aria-labelledby": "error-title"})
    assert failure.one("p", **{"class": "hookflow-error-type"}).text == "shop.errors.CardDeclined"
    assert "The message of the error has been redacted." in failure.text
    assert page.one("ul", **{"class": "hookflow-acts"}).text.count("event.redacted by ada: asked for") == 5


def test_a_huge_result_is_shown_in_part_and_not_fetched_whole(superuser: Client) -> None:
    run = start()
    add_steps(run, 20, result="x" * 200_000)
    complete(run, result="y" * 900_000)

    response = superuser.get(f"{RUNS}{run}/change/")

    page = parse(response)
    assert len(response.content) < 400_000
    assert "Shortened: 200002 characters in all." in section(page, "steps").text
    assert "Shortened: 900002 characters in all." in facts(page)["Result"]


@pytest.mark.parametrize(
    "value", ["[" * 150 + "]" * 150, json.dumps("\\u0000 & <b>"), "1e400", "-0.0", '"' + "ü" * 300 + '"']
)
def test_values_of_any_kind_are_shown(superuser: Client, value: str) -> None:
    run = start()
    log.append(run, None, [log.NewEvent("step.completed", "odd", '{"kind":"run"}', f'{{"result":{value}}}')])

    assert section(open_run(superuser, run), "steps").rows()[0][0] == "odd"


def test_many_steps_are_shown_a_hundred_at_a_time(superuser: Client) -> None:
    run = start()
    add_steps(run, 250)

    first, second = section(open_run(superuser, run), "steps"), section(open_run(superuser, run, steps="101"), "steps")

    assert [len(first.rows()), len(second.rows())] == [100, 100]
    assert (first.rows()[0][0], second.rows()[0][0]) == ("step-0", "step-100")
    assert first.all("a", rel="prev") == []
    assert first.one("a", rel="next").attributes["href"] == "?steps=101#steps"
    assert second.one("a", rel="prev").attributes["href"] == "?steps=1#steps"
    assert "101 to 200 of 250" in second.text
    drawn = section(open_run(superuser, run, steps="101"), "waterfall")
    assert len(drawn.one("ol").all("li")) == 101
    assert drawn.one("a", rel="next").attributes["href"] == "?steps=201#waterfall"
    assert "The scale starts +" in drawn.text


@pytest.mark.parametrize("number", ["0", "-1", "999", "x", "", "1e9", "9" * 30, "²"])
@pytest.mark.parametrize("name", ["steps", "seq", "before", "after", "scale", "type", "step"])
def test_an_address_that_makes_no_sense_shows_the_run_all_the_same(superuser: Client, name: str, number: str) -> None:
    run = start()
    add_steps(run, 3)

    assert sentence(open_run(superuser, run, **{name: number}))


def test_it_costs_the_same_for_a_long_run_and_weighs_less_than_a_megabyte(superuser: Client) -> None:
    short, long = start("short"), start("long")
    add_steps(short, 1)
    for _ in range(10):
        add_steps(long, 1_000, result={"text": '"quoted" ' * 1_000})
    fail(short)
    fail(long)
    open_run(superuser, short)

    with count_queries() as few:
        open_run(superuser, short)
    with count_queries() as many:
        response = superuser.get(f"{RUNS}{long}/change/")

    assert len(many) == len(few) <= 20
    assert len(response.content) < 1_000_000


def test_the_run_of_an_archive_says_where_its_events_are(superuser: Client) -> None:
    run = start()
    complete(run)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_head SET archived_at = now() WHERE run_uid = %s", [run])

    page = open_run(superuser, run, integrity="1")

    assert "are in an archive" in page.text
    assert "The projection cannot be compared" in page.text


@pytest.mark.usefixtures("shop_code")
def test_operations_are_offered_or_refused_with_the_reason(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add(run, "step.completed", "a step", kind="run", attempt=1, result=1)
    fail(run)

    page = open_run(superuser, run)

    offered = {a.text: a.attributes["href"] for a in page.one("ul", **{"class": "hookflow-actions"}).all("a")}
    assert offered["Replay"] == f"{RUNS}{run}/operate/replay/"
    assert "Cancel There is nothing to cancel: it is failed." in page.one("details", **{"data-key": "refused"}).text
    (rewind,) = section(page, "steps").all("a", **{"class": "hookflow-rewind"})
    assert rewind.attributes["href"] == f"{RUNS}{run}/operate/rewind/?step=a%20step"
    assert superuser.get(rewind.attributes["href"]).status_code == 200


def test_who_may_not_operate_is_offered_nothing(staff: Callable[..., Client]) -> None:
    run = start()
    fail(run)

    page = open_run(staff("view_workflowrun"), run)

    (offered,) = page.all("ul", **{"class": "hookflow-actions"})
    assert [a.text for a in offered.all("a")] == ["Compare"]
    assert page.all("details", **{"data-key": "refused"}) == []


@pytest.mark.parametrize("key", ["0198c0de-0000-7000-8000-000000000000", "no-uuid", "1"])
def test_an_unknown_run_leads_back_with_a_message(superuser: Client, key: str) -> None:
    response = superuser.get(f"{RUNS}{key}/change/", follow=True)

    assert "doesn’t exist" in parse(response).text


def test_the_workflow_links_to_its_runs(superuser: Client) -> None:
    run = start("a", "shop.process & more?")
    start("b", "shop.other")

    (link,) = [a.attributes["href"] for a in open_run(superuser, run).all("a") if a.text == "shop.process & more?"]

    listed = parse(superuser.get(link)).one("table", id="result_list").text
    assert "shop.process & more?" in listed
    assert "shop.other" not in listed


def test_the_fragment_is_the_part_of_the_page_that_may_change(superuser: Client) -> None:
    run = start()

    whole, part = open_run(superuser, run), open_run(superuser, run, fragment="1")

    assert part.all("html") == []
    regions = [e.attributes["id"] for e in part.walk() if "data-region" in e.attributes]
    assert regions == [e.attributes["id"] for e in whole.walk() if "data-region" in e.attributes]
    assert len(regions) == len(set(regions)) >= 7
    assert part.one("div", id="hookflow-run").attributes["data-live"] == "yes"


@pytest.mark.parametrize("name", ["admin", "run", "waterfall"])
def test_style_sheets_are_linked_and_take_all_colours_from_the_palette(superuser: Client, name: str) -> None:
    page = open_run(superuser, start())

    links = {e.attributes["href"] for e in page.all("link", rel="stylesheet")}
    assert f"/static/django_hookflow/{name}.css" in links
    found = finders.find(f"django_hookflow/{name}.css")
    assert isinstance(found, str)
    rules = [line.strip() for line in Path(found).read_text(encoding="utf-8").splitlines()]
    colours = [
        line for line in rules if line.startswith(("color:", "background:", "fill:", "stroke:", "border-color:"))
    ]
    assert colours
    assert all("var(--" in c or c.endswith((": inherit;", ": none;", ": transparent;")) for c in colours)


def test_a_long_error_is_shown_by_its_beginning_and_unfolds(superuser: Client) -> None:
    long, many, short = start("long"), start("many"), start("short")
    fail(long, error={**ERROR, "message": "x" * 1_500})
    fail(many, error={**ERROR, "message": "line\n" * 50})
    fail(short)

    for run, is_long in ((long, True), (many, True), (short, False)):
        box = open_run(superuser, run).one("div", id="hookflow-failure")
        assert bool(box.all("details", **{"data-key": "message"})) == is_long
    shown = open_run(superuser, long).one("div", id="hookflow-failure")
    assert shown.one("p", **{"class": "hookflow-error"}).text == "x" * 1_500


@pytest.mark.usefixtures("shop_code")
def test_one_button_stands_out_where_something_is_to_be_done(superuser: Client) -> None:
    broken, fine = start("broken"), start("fine")
    fail(broken)
    complete(fine)

    def outstanding(run: UUID) -> list[str]:
        return [a.text for a in open_run(superuser, run).all("a") if "hookflow-do" in a.attributes.get("class", "")]

    assert outstanding(broken) == ["Replay"]
    assert outstanding(fine) == []


def test_which_code_has_run_it(superuser: Client) -> None:
    run, old = start("order-1"), start("order-2")
    for version in ("v1", "v1", "v2"):
        add(run, "turn.started", worker="w", version=version)

    assert facts(open_run(superuser, run))["Code version"] == "v1, then v2"
    assert facts(open_run(superuser, old))["Code version"] == "not recorded"


def test_times_have_their_zone(superuser: Client) -> None:
    run = start()
    with override_settings(TIME_ZONE="Europe/Berlin"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (CET|CEST)", facts(open_run(superuser, run))["Triggered"])
