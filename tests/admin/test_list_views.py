"""The list of runs narrowed down: tabs, times, searches; the picture of the last steps, and the summary above."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django
import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import OutboxMessage, WorkflowEvent, WorkflowRun
from django_hookflow.runtime.turn import run_turn
from tests.admin.conftest import RUNS
from tests.admin.history import add, add_steps, complete, doubt, fail, fail_attempt, sleep, start
from tests.admin.page import Element, parse
from tests.admin.test_run_list import ids, open_list, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db


def tabs(page: Element) -> dict[str, Element]:
    """The tabs by their names, without their counts."""
    links = page.one("nav", **{"aria-label": "Runs by status"}).all("a")
    return {str(link.children[0]).strip(): link for link in links}


def counts(page: Element) -> dict[str, str]:
    return {name: "".join(span.text for span in link.all("span")) for name, link in tabs(page).items()}


def follow(client: Client, link: Element) -> Element:
    return parse(client.get(f"{RUNS}{link.attributes['href']}"))


def sleeping(run_id: str, workflow_id: str = "shop.process") -> UUID:
    run = start(run_id, workflow_id)
    sleep(run)
    return run


def tries_again(run_id: str) -> UUID:
    run = start(run_id)
    add(run, "turn.started", worker="w")
    fail_attempt(run, retry_in=3600)
    return run


def waits_for_signal(run_id: str, **facts: Any) -> UUID:
    run = start(run_id)
    add(run, "turn.started", worker="w")
    add(run, "step.suspended", "ask", kind="signal", attempt=1, key="approval", **facts)
    return run


def move_outbox(run: UUID, **times: Any) -> None:
    """Has the run's announced turn been due at another time, as if it had waited since."""
    QuerySet(OutboxMessage).filter(run_uid=run).update(**times)


def ago(**units: float) -> datetime.datetime:
    return timezone.now() - datetime.timedelta(**units)


def created_at(run: UUID, moment: datetime.datetime) -> None:
    """Projections are no log: nothing keeps a test from saying that a run is old."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_workflowrun SET created_at = %s WHERE id = %s", [moment, run])


def test_each_tab_says_how_many_it_has_and_leads_to_them(superuser: Client) -> None:
    start("waits")
    complete(start("done"))
    fail(start("broken"))
    doubted = start("doubted")
    doubt(doubted)
    sleeping("asleep")
    tries_again("tries again")
    waits_for_signal("asks")

    page = open_list(superuser)

    assert counts(page) == {
        "All": "7",
        "Running": "3",
        "Sleeping": "1",
        "Waiting": "1",
        "Retrying": "1",
        "Stuck": "0",
        "Failed": "1",
        "In doubt": "1",
        "Diverged": "0",
        "Paused": "0",
        "Pending": "1",
        "Completed": "1",
        "Cancelled": "0",
    }
    expected = {
        "Failed": ["broken"],
        "In doubt": ["doubted"],
        "Sleeping": ["asleep"],
        "Waiting": ["asks"],
        "Retrying": ["tries again"],
        "Pending": ["waits"],
        "Running": ["asks", "tries again", "asleep"],
    }
    for name, run_ids in expected.items():
        shown = follow(superuser, tabs(page)[name])
        assert ids(shown) == run_ids
        assert [tab for tab, link in tabs(shown).items() if link.attributes.get("aria-current")] == [name]
    assert len(ids(follow(superuser, tabs(page)["All"]))) == 7


def test_tabs_keep_to_the_workflow_that_is_chosen(superuser: Client) -> None:
    fail(start("a", "shop.one"))
    fail(start("b", "shop.two"))
    start("c", "shop.two")

    page = open_list(superuser, workflow="shop.two")

    assert ids(page) == ["c", "b"]
    assert (counts(page)["All"], counts(page)["Failed"], counts(page)["Pending"]) == ("2", "1", "1")
    assert ids(follow(superuser, tabs(page)["Failed"])) == ["b"]


def test_a_sleeper_says_until_when(superuser: Client) -> None:
    run = WorkflowRun.objects.get(pk=sleeping("asleep"))

    (row,) = rows(open_list(superuser))

    assert run.wake_at is not None
    assert row["status_badge"].endswith(f"{run.wake_at:%H:%M:%S}")
    assert "waits until" in row["status_badge"]


def test_what_waits_for_a_signal_says_for_which_and_until_when(superuser: Client) -> None:
    waits_for_signal("for ever")
    waits_for_signal("for an hour", seconds=3600)

    timed, untimed = rows(open_list(superuser, state="waiting"))

    assert untimed["status_badge"] == "Running waits for approval"
    assert timed["status_badge"].startswith("Running waits for approval until ")


def test_what_waits_for_a_run_or_for_its_beginning_says_so(superuser: Client) -> None:
    parent = start("parent")
    add(parent, "turn.started", worker="w")
    add(parent, "step.suspended", "ask", kind="child", attempt=1, key="its-child")
    later = timezone.now() + datetime.timedelta(hours=1)
    add(start("later"), "run.delayed", until=later.isoformat())
    sleeping("asleep")

    page = open_list(superuser, state="waiting")

    delayed, waiting = rows(page)
    assert waiting["status_badge"] == "Running waits for run its-child"
    assert delayed["status_badge"].startswith("Pending starts at ")
    assert counts(page)["Waiting"] == "2"


def test_a_turn_that_nobody_begins_makes_a_run_stuck(superuser: Client) -> None:
    overdue, resent, fresh = start("overdue"), start("resent", "shop.other"), start("fresh")
    move_outbox(overdue, due_at=ago(hours=1), send_at=ago(hours=1))
    move_outbox(resent, due_at=ago(hours=1), send_at=timezone.now() + datetime.timedelta(minutes=4))

    assert ids(open_list(superuser, state="stuck")) == ["resent", "overdue"]
    assert ids(open_list(superuser, state="stuck", workflow="shop.other")) == ["resent"]
    assert counts(open_list(superuser))["Stuck"] == "2"
    assert counts(open_list(superuser, workflow="shop.other"))["Stuck"] == "1"
    assert fresh is not None


@workflow(workflow_id="tests.listing.pausable")
def pausable(ctx: WorkflowContext) -> None:
    ctx.step.sleep("wait", seconds=60)


def test_a_turn_whose_lease_has_run_out_makes_a_run_stuck_and_a_live_one_does_not(superuser: Client) -> None:
    for run_id in ("lost", "at work"):
        start(run_id, "tests.listing.pausable")
        seconds = -1 if run_id == "lost" else 60
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT hookflow_claim(%s, %s, 1, 'worker', make_interval(secs => %s), '{}')",
                ["tests.listing.pausable", run_id, seconds],
            )

    assert ids(open_list(superuser, state="stuck")) == ["lost"]


def test_a_paused_run_is_not_stuck_however_long_it_is_held(superuser: Client) -> None:
    run = WorkflowRun.objects.get(pk=start("held"))
    move_outbox(run.pk, due_at=ago(days=1), send_at=ago(days=1))
    run.pause(reason="a look at it")

    assert ids(open_list(superuser, state="stuck")) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"when": "hour"}, ["now"]),
        ({"when": "day"}, ["now", "two hours ago"]),
        ({"when": "week"}, ["now", "two hours ago", "two days ago"]),
        ({}, ["now", "two hours ago", "two days ago", "ten days ago"]),
    ],
)
def test_the_last_hour_day_and_week(superuser: Client, query: dict[str, str], found: list[str]) -> None:
    start("now")
    created_at(start("two hours ago"), ago(hours=2))
    created_at(start("two days ago"), ago(days=2))
    created_at(start("ten days ago"), ago(days=10))

    page = open_list(superuser, **query)

    assert ids(page) == found
    (filters,) = (element for element in page.walk() if element.attributes.get("id") == "changelist-filter")
    titles = {None: "Any time", "hour": "Last hour", "day": "Last 24 hours", "week": "Last 7 days"}
    assert titles[query.get("when")] in [item.text for item in filters.all("li", **{"class": "selected"})]


def test_from_and_to_are_inclusive_and_the_form_shows_what_was_asked(superuser: Client) -> None:
    moment = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.timezone.utc)
    for minutes in range(4):
        created_at(start(f"at-{minutes}", "shop.one"), moment + datetime.timedelta(minutes=minutes))

    page = open_list(superuser, since="2026-03-01T12:01", until="2026-03-01T12:02:00", workflow="shop.one")

    form = page.one("form", id="hookflow-time")
    assert ids(page) == ["at-2", "at-1"]
    assert form.one("input", name="since").attributes["value"] == "2026-03-01T12:01:00"
    assert form.one("input", name="until").attributes["value"] == "2026-03-01T12:02:00"
    hidden = {"type": "hidden", "form": "hookflow-time", "name": "workflow", "value": "shop.one"}
    assert form.one("input", type="hidden").attributes == hidden
    assert {label.attributes["for"] for label in form.all("label")} == {"hookflow-since", "hookflow-until"}


def test_a_time_is_meant_in_the_time_zone_of_the_project(superuser: Client) -> None:
    created_at(start("noon"), datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.timezone.utc))

    with timezone.override("Asia/Tokyo"):
        assert ids(open_list(superuser, since="2026-03-01T21:00", until="2026-03-01T21:00")) == ["noon"]
        assert ids(open_list(superuser, since="2026-03-01T12:00Z", until="2026-03-01T12:00:00+00:00")) == ["noon"]
        assert ids(open_list(superuser, since="2026-03-01T12:00", until="2026-03-01T20:59")) == []


def test_oldest_first_is_the_one_other_order(superuser: Client) -> None:
    start("a")
    start("b")
    page = open_list(superuser)
    sortable = [header for header in page.all("th", scope="col") if header.all("a")]

    (created,) = (header for header in sortable if "column-" in header.attributes.get("class", ""))
    assert created.text == "Created (UTC)"
    assert ids(follow(superuser, created.all("a", **{"class": "toggle descending"})[0])) == ["a", "b"]
    assert ids(open_list(superuser, o="1")) == ["b", "a"]


def labelled(run_id: str, label: str) -> str:
    workflow_id = "tests.listing.pausable"
    assert pausable.workflow_id == workflow_id
    return pausable.trigger({}, run_id, label=label)


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("invoice 7", ["a"]),
        ("invoice", ["c", "b", "a"]),
        ("INVOICE", []),
        ("50%", ["d"]),
        ("50", ["d"]),
        ("a", ["a"]),
        ("%", []),
        ("nvoice", []),
    ],
)
def test_a_search_by_label_and_by_how_it_begins(superuser: Client, term: str, found: list[str]) -> None:
    labelled("a", "invoice 7")
    labelled("b", "invoice 70")
    labelled("c", "invoice 8")
    labelled("d", "50% off")
    labelled("e", "")

    page = open_list(superuser, q=term)

    assert ids(page) == ([f"{run} {WorkflowRun.objects.get(run_id=run).label}" for run in found])
    assert counts(page)["All"] == str(len(found))
    assert counts(page)["Stuck"] == ""
    assert f"Searched for “{term}”." in page.one("p", **{"class": "hookflow-note"}).text


def test_a_search_by_the_inner_id_that_logs_and_links_name(superuser: Client) -> None:
    run = start("order-1")
    start("order-2")

    assert ids(open_list(superuser, q=str(run))) == ["order-1"]


def test_a_search_within_a_tab_and_a_workflow(superuser: Client) -> None:
    fail(start("order-1", "shop.one"))
    start("order-2", "shop.one")
    fail(start("order-3", "shop.two"))

    page = open_list(superuser, q="order", workflow="shop.one", status__exact="failed")

    assert ids(page) == ["order-1"]
    assert (counts(page)["All"], counts(page)["Failed"], counts(page)["Pending"]) == ("2", "1", "1")
    (without,) = (link for link in page.all("a") if link.text == "Clear the search")
    assert without.attributes["href"] == "?status__exact=failed&workflow=shop.one"


def test_a_search_by_step_finds_what_has_been_at_work_in_it_or_failed_in_it(superuser: Client) -> None:
    add_steps(start("did it"), 1)
    fail_attempt(start("tries again"), "step-0", retry_in=5)
    fail(start("failed in it"), step_id="step-0")
    fail(start("failed elsewhere"), step_id="other")

    page = open_list(superuser, q="step:step-0")

    assert sorted(ids(page)) == ["did it", "failed in it", "tries again"]
    assert "the last 100,000 events" in page.one("p", **{"class": "hookflow-note"}).text
    assert ids(open_list(superuser, q="step: other")) == ["failed elsewhere"]
    assert ids(open_list(superuser, q="step:nothing")) == []


@pytest.mark.django_db(transaction=True)
def test_a_search_by_message(superuser: Client) -> None:
    labelled("order-1", "")
    run_turn(pausable.workflow_id, "order-1", 1, delivery={"message_id": "msg_26hZCxZCuWyyTWPmSVBrNB882AEH"})
    labelled("order-2", "")
    other = WorkflowRun.objects.get(run_id="order-2")

    assert ids(open_list(superuser, q="message:msg_26hZCxZCuWyyTWPmSVBrNB882AEH")) == ["order-1"]
    assert ids(open_list(superuser, q="msg_26hZCxZCuWyyTWPmSVBrNB882AEH")) == ["order-1"]
    assert ids(open_list(superuser, q=f"msg_{other.pk}-1")) == ["order-2"]
    assert ids(open_list(superuser, q="message:msg_nothing")) == []


def test_nothing_but_the_filters_can_be_asked_for(superuser: Client) -> None:
    """Else whoever may see runs but no payloads could find out what they hold, a letter at a time."""
    start("order-1", data={"card": "4242"})

    for lookup in ("data__card__startswith", "error_message__contains", "result", "events__payload__x", "label__regex"):
        assert superuser.get(RUNS, {lookup: "4"}).status_code == 400, lookup
    assert ids(open_list(superuser, run_id="order-1")) == ["order-1"]


def test_counts_beside_filters_are_not_to_be_had(superuser: Client) -> None:
    start()

    response = superuser.get(RUNS, {"_facets": "True"})

    assert response.status_code == (400 if django.VERSION < (5, 0) else 200)  # before that there were none
    assert b"Show counts" not in response.content
    assert b"(1)" not in response.content


def test_a_staff_member_with_the_view_permission_has_all_of_it(staff: Callable[..., Client]) -> None:
    add_steps(start("order-1"), 2)
    client = staff("view_workflowrun")

    assert ids(open_list(client)) == ["order-1"]
    assert ids(open_list(client, state="stuck", when="hour", q="order")) == []


def picture(page: Element) -> Element:
    return page.one("table", id="result_list").one("svg")


def test_the_last_steps_are_drawn_as_what_they_came_to(superuser: Client) -> None:
    run = start()
    add(run, "turn.started", worker="w")
    add_steps(run, 2)
    fail_attempt(run, retry_in=5)
    add(run, "step.retried", "charge", attempt=2)
    add(run, "step.completed", "charge", kind="run", attempt=2, took=1, result=1)
    add(run, "step.suspended", "wait", kind="sleep", seconds=5, attempt=1)
    add(run, "step.completed", "wait", kind="sleep", attempt=1, took=0, result=None)
    add(run, "step.suspended", "send", kind="doubt", step_kind="call", attempt=1)

    svg = picture(open_list(superuser))

    assert svg.one("title").text == "Last steps: 3 completed, 1 failed, 1 slept, 1 in doubt"
    shapes = {path.attributes["class"]: path.attributes["d"].count("M") for path in svg.all("path")}
    assert shapes == {
        "hookflow-spark-completed": 3,
        "hookflow-spark-failed": 1,
        "hookflow-spark-slept": 1,
        "hookflow-spark-doubted": 1,
    }


def test_of_a_long_run_the_end_is_drawn(superuser: Client) -> None:
    add_steps(start(), 500)

    assert picture(open_list(superuser)).one("title").text == "Last steps: 16 completed"


def test_a_run_that_has_done_nothing_has_no_picture(superuser: Client) -> None:
    start()

    page = open_list(superuser)

    assert page.one("table", id="result_list").all("svg") == []
    assert WorkflowEvent.objects.count() == 1


def took(run_id: str, workflow_id: str, seconds: float) -> None:
    run = start(run_id, workflow_id)
    complete(run)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_hookflow_workflowrun SET completed_at = created_at + make_interval(secs => %s) WHERE id = %s",
            [seconds, run],
        )


def summary_rows(page: Element) -> list[list[str]]:
    return page.one("details", **{"class": "hookflow-summary"}).rows()


def test_the_summary_tells_rates_failures_and_durations_of_each_workflow(superuser: Client) -> None:
    for number, seconds in enumerate([1, 2, 3, 200]):
        took(f"fast-{number}", "shop.fast", seconds)
    fail(start("failed", "shop.fast"))
    start("waits", "shop.fast")
    start("other", "shop.other")
    created_at(start("old", "shop.old"), ago(days=2))

    page = open_list(superuser)

    assert (
        page.one("details", **{"class": "hookflow-summary"})
        .one("summary")
        .text.startswith("7 runs created, 1 failed (20 %), from 20")
    )
    assert summary_rows(page) == [
        ["shop.fast", "6", "0.2", "20 %", "2.5 s", "2 min 50 s"],
        ["shop.other", "1", "0.04", "–", "–", "–"],
    ]
    assert [row[0] for row in summary_rows(open_list(superuser, when="week"))] == [
        "shop.fast",
        "shop.old",
        "shop.other",
    ]
    assert summary_rows(open_list(superuser, when="hour"))[0][2] == "6.0"
    assert [row[0] for row in summary_rows(open_list(superuser, workflow="shop.other"))] == ["shop.other"]


def test_the_summary_names_five_workflows_and_counts_the_others(superuser: Client) -> None:
    for number in range(7):
        start(f"run-{number}", f"shop.flow-{number}")

    page = open_list(superuser)

    assert len(summary_rows(page)) == 5
    assert "And 2 more workflows with fewer runs." in page.text


@pytest.mark.parametrize("query", [{"q": "order"}, {"until": "2000-01-01"}])
def test_there_is_no_summary_beside_a_search_nor_of_a_time_without_runs(superuser: Client, query: Any) -> None:
    start("order-1")

    assert open_list(superuser, **query).all("details", **{"class": "hookflow-summary"}) == []
