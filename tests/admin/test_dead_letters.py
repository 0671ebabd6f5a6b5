"""The list of dead letters and the page of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.dlq import DeadLetterEntry
from django_hookflow.models import WorkflowEvent, WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.history import ERROR, add, add_steps, fail, start
from tests.admin.page import Element, facts, parse
from tests.admin.test_operating_many import ask, counts, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client


def open_list(client: Client, **query: Any) -> list[list[str]]:
    page = parse(client.get(DEAD_LETTERS, query))
    return page.one("table", id="result_list").rows() if page.all("table", id="result_list") else []


def open_entry(client: Client) -> Element:
    return parse(client.get(f"{DEAD_LETTERS}{DeadLetterEntry.objects.get().pk}/change/"))


def ids(rows: list[list[str]]) -> list[str]:
    return sorted({cell for row in rows for cell in row if cell.startswith("order-")})


def test_the_list_says_what_failed_where_and_why(superuser: Client) -> None:
    fail(start("order-1"))

    (row,) = open_list(superuser)

    assert {"order-1", "shop.process", "charge", "CardDeclined the card was declined", "4"} <= set(row)


def test_the_list_is_filtered_by_replayed_and_by_workflow(superuser: Client) -> None:
    fail(start("order-1"))
    replayed = start("order-2", "shop.refund")
    fail(replayed)
    add(replayed, "run.replayed", failed_seq=3)

    assert ids(open_list(superuser, state="all")) == ["order-1", "order-2"]
    assert ids(open_list(superuser, state="replayed")) == ["order-2"]
    assert ids(open_list(superuser)) == ["order-1"]
    assert ids(open_list(superuser, workflow="shop.refund", state="all")) == ["order-2"]
    assert ids(open_list(superuser, q="order-1")) == ["order-1"]
    assert ids(open_list(superuser, state="all", q="order-")) == ["order-1", "order-2"]


def test_an_entry_shows_error_traceback_input_and_completed_steps(superuser: Client) -> None:
    run = start("order-1", data={"order": 7})
    add_steps(run, 2)
    add(run, "step.superseded", "step-0")
    fail(run)

    page = open_entry(superuser)

    shown = facts(page)
    assert shown["Failed in step"] == "charge"
    assert shown["Attempts"] == "4"
    assert shown["Replayed"] == "not yet"
    assert shown["Completed steps"] == "step-1"
    assert shown["Run data"] == '{"data": {"order": 7}, "run_id": "order-1", "workflow_id": "shop.process"}'
    assert page.one("p", **{"class": "hookflow-error"}).text == "the card was declined"
    assert page.one("pre", **{"class": "hookflow-traceback"}).raw_text == ERROR["traceback"]
    (link,) = [a.attributes["href"] for a in page.all("a") if a.text == "order-1"]
    assert link == f"{RUNS}{run}/change/"


def test_a_failure_outside_any_step_says_so(superuser: Client) -> None:
    fail(start(), step_id=None)

    assert facts(open_entry(superuser))["Failed in step"] == "outside any step"


def test_a_long_traceback_is_shown_to_its_end(superuser: Client) -> None:
    fail(start(), error={**ERROR, "traceback": "line\n" * 10_000 + "the error itself"})

    shown = open_entry(superuser).one("pre", **{"class": "hookflow-traceback"}).raw_text

    assert shown.startswith("… 30,016 characters cut …\n")
    assert shown.endswith("the error itself")


def test_who_may_not_see_runs_gets_no_link_to_one(staff: Callable[..., Client]) -> None:
    fail(start("order-1"))

    page = open_entry(staff("view_deadletterentry"))

    assert facts(page)["Run id"] == "order-1"
    assert not [a for a in page.all("a") if a.text == "order-1"]


def test_both_pages_cost_the_same_for_many(superuser: Client) -> None:
    fail(start("order-0"))
    entry = DeadLetterEntry.objects.get()
    pages = (DEAD_LETTERS, f"{DEAD_LETTERS}{entry.pk}/change/")

    def count() -> list[int]:
        counts = []
        for page in pages:
            with count_queries() as queries:
                assert superuser.get(page).status_code == 200
            counts.append(len(queries))
        return counts

    count()  # content types are cached from here on
    few = count()
    for number in range(1, 30):
        fail(start(f"order-{number}"))

    assert count() == few
    assert few == [10, 6]  # of the list, four have the causes read within a time


@pytest.mark.usefixtures("shop_code")
def test_selected_entries_are_replayed_by_the_user_who_asked(superuser: Client) -> None:
    first, second = start("order-1"), start("order-2")
    fail(first)
    fail(second)
    keys = list(DeadLetterEntry.objects.values_list("pk", flat=True))
    add(second, "run.restarted", failed_seq=3, run_id="elsewhere")

    result = send(superuser, ask(superuser, "replay_selected", keys, url=f"{DEAD_LETTERS}?state=all"))

    assert counts(result) == [1, 1, 0]
    assert ids(open_list(superuser)) == []
    event = WorkflowEvent.objects.filter(type="run.replayed").get()
    assert (event.workflow_run_id, event.actor) == (first, "root")
    assert WorkflowEvent.objects.filter(type="run.replay_repeated").get().workflow_run_id == second


def test_an_entry_that_no_code_is_here_for_stays_open_and_says_so(superuser: Client) -> None:
    run = start("order-1", "shop.gone")
    fail(run)
    keys = list(DeadLetterEntry.objects.values_list("pk", flat=True))

    result = send(superuser, ask(superuser, "replay_selected", keys, url=DEAD_LETTERS))

    assert counts(result) == [0, 0, 1]
    assert "no workflow is registered as 'shop.gone'" in result.text
    assert ids(open_list(superuser)) == ["order-1"]
    assert not WorkflowEvent.objects.filter(workflow_run=run, type__contains="repla").exists()


def test_who_may_not_see_payloads_sees_that_they_are_withheld(staff: Callable[..., Client]) -> None:
    fail(start("order-1", data={"card": "4242"}))
    client = staff("view_deadletterentry")

    for page in (open_entry(client), parse(client.get(DEAD_LETTERS))):
        assert "the card was declined" not in page.text
        assert "4242" not in page.text
        assert "Traceback" not in page.text
        assert "Hidden: you need" in page.text or "withheld" in page.text


def test_who_may_only_look_is_offered_no_replay(staff: Callable[..., Client]) -> None:
    fail(start())

    assert parse(staff("view_deadletterentry").get(DEAD_LETTERS)).all("select", name="action") == []


def test_of_a_redacted_failure_the_class_of_its_error_is_shown(superuser: Client) -> None:
    run = start("order-1")
    add_steps(run, 1)
    fail(run)
    WorkflowRun.objects.get(pk=run).redact(reason="asked for")

    (row,) = open_list(superuser)
    page = open_entry(superuser)

    assert "CardDeclined" in row
    assert page.one("p", **{"class": "hookflow-error-type"}).text == "shop.errors.CardDeclined"
    assert "No message, or it has been redacted." in page.text
    assert (facts(page)["Attempts"], facts(page)["Completed steps"]) == ("4", "step-0")
    assert "the card was declined" not in page.text


def test_of_many_completed_steps_the_first_are_named(superuser: Client) -> None:
    run = start()
    add_steps(run, 201)
    fail(run)

    named = facts(open_entry(superuser))["Completed steps"].split(", ")

    assert (named[0], named[-2:], len(named)) == ("step-0", ["step-199", "…"], 201)


@pytest.mark.parametrize("lookup", ["payload__data__card__startswith", "error_message__contains", "error_traceback"])
def test_what_is_withheld_cannot_be_guessed_at_by_the_address(superuser: Client, lookup: str) -> None:
    assert superuser.get(DEAD_LETTERS, {lookup: "4242"}).status_code == 400
