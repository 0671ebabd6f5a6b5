"""Lists of nothing, ids that are almost right, a run's id in the address, and a run that opens at the step that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_hookflow import WorkflowContext, workflow
from django_hookflow.registry import forget_local_workflows, registered_workflows
from django_hookflow.timeline.similar_ids import MOST, find_similar_ids
from tests.admin.conftest import DEAD_LETTERS, RUNS, count_queries
from tests.admin.history import add_steps, fail, fail_attempt, start
from tests.admin.page import Element, parse, section
from tests.admin.test_run_list import ids, open_list
from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db


def empty(page: Element) -> Element:
    return page.one("div", **{"class": "hookflow-empty"})


def test_without_runs_the_list_says_how_to_begin_and_what_the_doctor_says(superuser: Client, settings: Any) -> None:
    known = registered_workflows()

    @workflow(workflow_id="a.first.workflow")
    def first(ctx: WorkflowContext) -> None:
        """Is named on the page."""

    settings.DJANGO_HOOKFLOW_DOMAIN = None
    words = empty(open_list(superuser)).text
    forget_local_workflows(known)

    assert words.startswith("No runs yet. Trigger one from your code, or from manage.py shell:")
    assert 'get_workflow("a.first.workflow").trigger({})' in words
    assert "The doctor found:" in words
    assert "DJANGO_HOOKFLOW_DOMAIN is not configured" in words


def test_what_was_asked_for_is_said_with_links_that_ask_for_less(superuser: Client) -> None:
    start("order-1")

    shown = empty(open_list(superuser, status__exact="failed", workflow="shop.none", when="day", q="step:x"))

    assert "No run matches “step:x”. The search looked for a step." in shown.text
    links = {link.text: link.attributes["href"] for link in shown.all("a")}
    assert links == {
        "“Failed” alone": "?q=step%3Ax&when=day&workflow=shop.none",
        "the workflow shop.none": "?q=step%3Ax&status__exact=failed&when=day",
        "the time": "?q=step%3Ax&status__exact=failed&workflow=shop.none",
    }
    assert "No run matches." in empty(open_list(superuser, workflow="shop.none")).text


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("ordr-1042", ["order-1042"]),
        ("order-10422", ["order-1042", "order-1043"]),
        ("order-1024", ["order-1042", "order-1043"]),
        ("ORDER-1042", ["order-1042"]),
        (" order-1042 ", ["order-1042", "order-1043"]),
        ("order-1052", ["order-1042", "order-1043"]),
        ("order-1042-and-more", ["order-1042", "order-1043"]),
        ("order", ["order-1042", "order-1043"]),
        ("Order-9999", []),
        ("x", []),
        ("", []),
        ("\0", []),
        ("%", []),
        ("_rder-104", []),
        ("o" * 5_000, []),
        ("größe-7", ["größe-77"]),
        ("\U0010ffff\U0010ffff", []),
    ],
)
def test_ids_that_are_almost_the_one(asked: str, found: list[str]) -> None:
    for run_id in ("order-1042", "order-1043", "größe-77", "parcel-1"):
        start(run_id)

    assert find_similar_ids(asked, "default") == found


def test_no_more_are_named_than_a_person_reads() -> None:
    for number in range(20):
        start(f"order-{number}")
    assert len(find_similar_ids("order-", "default")) == MOST


def test_near_ids_are_looked_up_along_indexes() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_hookflow_workflowrun (id, run_id, workflow_id, status, data, error_type, error_message, label, "
            "created_at, updated_at) SELECT gen_random_uuid(), 'order-' || n, 'w', 'completed', '{}', '', '', '', now(), now() "
            "FROM generate_series(1, 20000) AS n"
        )
        cursor.execute("ANALYZE django_hookflow_workflowrun")
    with count_queries() as statements:
        assert find_similar_ids("ordr-777", "default")[0] == "order-777"

    (statement,) = statements
    plan = "\n".join(row["QUERY PLAN"] for row in ask(f"EXPLAIN {statement.replace('%', '%%')}"))
    assert "Seq Scan on django_hookflow_workflowrun" not in plan, plan


@pytest.mark.parametrize("run_id", ["order-1", "order_22", "a/b/c", "with space", "50%", "_5F", "größe", "é?#&"])
def test_the_id_of_a_run_in_the_address_finds_it(superuser: Client, run_id: str) -> None:
    start(run_id)

    response = superuser.get(f"{RUNS}{quote(run_id)}/", follow=True)

    assert run_id in parse(response).one("dl", **{"class": "hookflow-facts"}).text


def test_an_address_of_no_run_leads_to_what_is_near_it(superuser: Client) -> None:
    start("order-1042")

    page = parse(superuser.get(f"{RUNS}ordr-1042/change/", follow=True))

    assert [link.text for link in empty(page).all("a")] == ["order-1042"]
    assert ids(parse(superuser.get(f"{RUNS}order-104/change/", follow=True))) == ["order-1042"]
    assert superuser.get(f"{DEAD_LETTERS}99/change/").headers["Location"] == f"{DEAD_LETTERS}?q=99"


def test_who_may_not_see_runs_is_not_told_of_any(staff: Callable[..., Client]) -> None:
    start("order-1042")

    response = staff("view_deadletterentry").get(f"{RUNS}ordr-1042/change/", follow=True)

    assert "order-1042" not in response.content.decode()


@pytest.mark.parametrize(
    "command",
    [
        ["hookflow_timeline", "ordr-1042"],
        ["hookflow_verify", "--run", "ordr-1042"],
        ["hookflow_rebuild", "--run", "ordr-1042"],
        ["hookflow_rebuild", "--check", "--run", "ordr-1042"],
        ["hookflow_export", "--run", "ordr-1042"],
    ],
)
def test_every_command_that_takes_an_id_names_what_is_near_it(command: list[str]) -> None:
    start("order-1042")

    with pytest.raises(CommandError, match="'ordr-1042'; did you mean 'order-1042'\\?$"):
        call_command(*command)


def test_a_run_opens_at_the_step_that_failed_and_its_error_leads_there(superuser: Client) -> None:
    run = start("order-1")
    add_steps(run, 250)
    fail_attempt(run, "charge")
    fail(run, "charge")

    page = parse(superuser.get(f"{RUNS}{run}/change/"))

    names = [row.one("th").text for row in section(page, "steps").one("tbody").all("tr")]
    assert (names[0], names[-1]) == ("step-200", "charge")
    (link,) = [a for a in page.one("div", id="hookflow-failure").all("a") if a.text == "charge"]
    assert link.attributes["href"] == "?steps=201#step-251"
    first = parse(superuser.get(f"{RUNS}{run}/change/?steps=1"))
    assert section(first, "steps").one("tbody").all("tr")[0].one("th").text == "step-0"


def test_a_run_that_works_opens_at_the_step_under_way(superuser: Client) -> None:
    run = start("order-1")
    add_steps(run, 120)
    fail_attempt(run, "charge", retry_in=60)

    page = parse(superuser.get(f"{RUNS}{run}/change/"))

    names = [row.one("th").text for row in section(page, "steps").one("tbody").all("tr")]
    assert names[-1] == "charge"
    assert len(names) == 21
