"""Failures by cause: the block above the failed runs and the dead letters, its links, and replaying one cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.utils import timezone

from django_hookflow.admin.failures import causes as causes_module
from django_hookflow.admin.failures.causes import find_causes
from django_hookflow.admin.failures.errors import own_message
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS
from tests.admin.history import ERROR, fail, start
from tests.admin.page import Element, parse
from tests.admin.test_list_views import ago
from tests.admin.test_operating_many import counts, send
from tests.admin.test_run_list import ids, open_list, rows
from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db

FAILED = f"{RUNS}?status__exact=failed"
STOCK = {"type": "shop.errors.OutOfStock", "message": "article A-17 is sold out", "traceback": "…"}


def failures(declined: int = 3, sold_out: int = 2) -> None:
    for number in range(declined):
        fail(start(f"declined-{number}"))
    for number in range(sold_out):
        fail(
            start(f"sold-out-{number}", "shop.other"),
            "reserve",
            {**STOCK, "message": f"article A-{number} is sold out"},
        )


def block(page: Element) -> Element:
    return page.one("details", **{"class": "hookflow-causes"})


def replay_form(page: Element, error: str) -> Element:
    (row,) = [row for row in block(page).one("tbody").all("tr") if error in row.text]
    return row.one("form")


def press(client: Client, form: Element) -> Element:
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
    return parse(client.post(form.attributes["action"], fields))


@pytest.mark.parametrize("url", [FAILED, DEAD_LETTERS])
def test_the_causes_are_counted_and_each_leads_to_its_failures(superuser: Client, url: str) -> None:
    failures()

    shown = block(parse(superuser.get(url)))

    assert shown.one("h2").text.startswith("5 failures, 2 causes since 20")
    declined, sold_out = shown.rows()
    assert (declined[0], declined[1]) == ("CardDeclined the card was declined in charge", "3")
    assert sold_out[0].startswith("OutOfStock article A-")
    assert sold_out[1] == "2"
    assert declined[-1] == "Replay these 3"
    (link,) = shown.one("tbody").all("tr")[1].one("th").all("a")
    narrowed = parse(superuser.get(f"{url.partition('?')[0]}{link.attributes['href']}"))
    assert sorted(ids(narrowed)) == ["sold-out-0", "sold-out-1"]
    assert block(narrowed).one("h2").text.startswith("2 failures, 1 cause")


def test_there_is_no_block_above_other_runs_or_where_nothing_failed(superuser: Client) -> None:
    start("waits")
    for url in (RUNS, FAILED, DEAD_LETTERS):
        assert parse(superuser.get(url)).all("details", **{"class": "hookflow-causes"}) == []


@pytest.mark.usefixtures("shop_code")
def test_one_cause_is_replayed_and_the_others_are_not(superuser: Client) -> None:
    failures()
    form = replay_form(parse(superuser.get(FAILED)), "CardDeclined")

    page = press(superuser, form)
    assert [button.text for button in page.one("div", id="content-main").all("button")] == ["Replay 3 dead letters"]
    assert WorkflowEvent.objects.filter(type="run.replayed").count() == 0
    result = send(superuser, page)

    assert counts(result) == [3, 0, 0]
    assert "Done: 3 replayed." in result.text
    still_failed = WorkflowRun.objects.filter(status="failed").values_list("run_id", flat=True)
    assert sorted(still_failed) == ["sold-out-0", "sold-out-1"]


def test_the_time_and_the_workflow_narrow_down_what_is_replayed(superuser: Client) -> None:
    failures()
    old = DeadLetterEntry.objects.get(run_id="declined-0").pk
    QuerySet(DeadLetterEntry).filter(pk=old).update(created_at=ago(hours=3))

    shown = block(parse(superuser.get(f"{FAILED}&when=hour&workflow=shop.process")))

    assert shown.rows()[0][1] == "2"
    page = press(
        superuser, replay_form(parse(superuser.get(f"{FAILED}&when=hour&workflow=shop.process")), "CardDeclined")
    )
    assert "Replay 2 dead letters" in page.text


def test_who_may_not_act_or_see_payloads(staff: Callable[..., Client]) -> None:
    failures()
    shown = block(parse(staff("view_workflowrun", "view_deadletterentry").get(FAILED)))
    assert shown.all("form") == []
    assert shown.rows()[0][0] == "CardDeclined withheld in charge"


def test_more_than_the_sample_is_said(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes_module, "SAMPLE", 4)
    failures()

    shown = block(parse(superuser.get(DEAD_LETTERS)))

    assert shown.one("h2").text.startswith("The newest 4 failures, 2 causes")
    assert {row[-1] for row in shown.rows()} == {"Replay all of these"}


def test_what_takes_too_long_is_given_up_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    failures(1, 0)
    monkeypatch.setattr(causes_module, "SECONDS", 0.05)
    slow = DeadLetterEntry.objects.extra(where=["pg_sleep(60) IS NOT NULL"])

    found = find_causes(slow, None, timezone.now(), sees_messages=True, links=lambda term: ("", ""))

    assert found.was_given_up
    assert "There are too many failures to summarize" in render_to_string(
        "admin/django_hookflow/causes.html", {"causes": found}
    )
    assert ask("SHOW statement_timeout") == [{"statement_timeout": "0"}]


@pytest.mark.parametrize("url", [RUNS, DEAD_LETTERS])
@pytest.mark.parametrize(
    ("term", "number"),
    [
        ("error:CardDeclined", 3),
        ("error:carddeclined", 3),
        ("error: shop.errors.OutOfStock", 2),
        ("error:Declined", 0),
        ("error:%", 0),
        ("cause:nothing", 0),
        ("cause:", 0),
        ("cause:\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), 0),
    ],
)
def test_a_search_by_error_and_by_cause(superuser: Client, url: str, term: str, number: int) -> None:
    failures()

    assert len(ids(parse(superuser.get(url, {"q": term})))) == number


def test_the_list_says_why_a_run_failed(superuser: Client) -> None:
    fail(start("plain"))
    prefixed = "step 'charge' failed after 4 attempts: shop.errors.CardDeclined: the card was declined"
    fail(start("prefixed"), error={**ERROR, "message": prefixed})

    assert {row["status_badge"] for row in rows(open_list(superuser))} == {"Failed CardDeclined the card was declined"}


@pytest.mark.parametrize(
    ("error_type", "message", "own"),
    [
        ("a.T", "step 'x' failed after 1 attempt: a.T: why", "why"),
        (
            "a.T",
            "step 'it\\'s failed after 1 attempt: b' failed after 2 attempts: a.T: why",
            "b' failed after 2 attempts: a.T: why",
        ),
        ("a.T", "step 'x' failed after 1 attempt: b.U: why", "b.U: why"),
        ("a.T", "step 'x' failed after 1 attempt: a.T: ", ""),
        ("", "", ""),
        ("", "step 'x' failed", "step 'x' failed"),
    ],
)
def test_the_prefix_of_the_engine_is_left_out(error_type: str, message: str, own: str) -> None:
    assert own_message(error_type, message) == own


def test_the_dead_letter_has_a_button_and_its_cause(superuser: Client, shop_code: Any) -> None:
    failures()
    entry = DeadLetterEntry.objects.get(run_id="declined-0")
    page = parse(superuser.get(f"{DEAD_LETTERS}{entry.pk}/change/"))

    (replay,) = page.all("a", **{"class": "hookflow-button hookflow-do"})
    assert (replay.text, replay.attributes["href"]) == ("Replay", f"{RUNS}{entry.run_uid}/operate/replay/")
    (cause,) = [link for link in page.all("a") if link.text == "All open failures with this cause"]
    assert cause.attributes["href"] == f"../../?q=cause:{entry.fingerprint}"
    entry.replay()
    page = parse(superuser.get(f"{DEAD_LETTERS}{entry.pk}/change/"))
    assert page.all("a", **{"class": "hookflow-button hookflow-do"}) == []
    assert "This failure has been replayed." in page.text
