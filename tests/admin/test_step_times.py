"""The page of steps: how often each ran, failed and how long it took, in a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.admin import step_times
from django_hookflow.admin.step_times import read_step_times
from django_hookflow.events import log
from django_hookflow.models import WorkflowRun
from tests.admin.conftest import RUNS
from tests.admin.history import event, fail_attempt, start
from tests.admin.page import Element, parse
from tests.admin.test_list_views import ago, created_at, sleeping
from tests.admin.test_run_list import open_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

pytestmark = pytest.mark.django_db

STEPS = f"{RUNS}steps/"


def completed(run_id: str, times: dict[str, float], workflow_id: str = "shop.process") -> Any:
    run = start(run_id, workflow_id)
    done = [event("step.completed", step, kind="run", attempt=1, took=took) for step, took in times.items()]
    log.append(run, None, done)
    return run


def table(page: Element) -> list[list[str]]:
    tables = page.all("table", **{"class": "hookflow-steps-table"})
    return tables[0].rows() if tables else []


def test_each_step_with_runs_failures_median_p95_total_and_its_slowest(superuser: Client) -> None:
    slow = completed("order-1", {"charge": 10.0, "ship": 0.5, "mail[0]": 0.1, "mail[1]": 0.3})
    completed("order-2", {"charge": 1.0, "mail[x[1]]": 0.2})
    fail_attempt(completed("order-3", {"charge": 2.0}), retry_in=5)
    sleeping("asleep")

    page = parse(superuser.get(STEPS, {"workflow": "shop.process"}))

    assert table(page) == [
        ["charge", "3", "25.0 %", "2 s", "9.2 s", "13.1 s", "10 s, 2 s, 1 s"],
        ["ship", "1", "–", "500 ms", "500 ms", "500 ms", "500 ms"],
        ["mail[]", "1", "–", "200 ms", "290 ms", "400 ms", "300 ms, 100 ms"],
        ["mail[x[]]", "1", "–", "200 ms", "200 ms", "200 ms", "200 ms"],
    ]
    links = page.one("table", **{"class": "hookflow-steps-table"}).one("tbody").all("tr")[0].all("a")
    assert links[0].attributes["href"] == f"{RUNS}{slow}/change/"


def test_it_is_of_the_time_and_the_workflow_that_are_chosen(superuser: Client) -> None:
    created_at(completed("old", {"charge": 1.0}), ago(days=3))
    completed("new", {"charge": 2.0})
    completed("other", {"pack": 1.0}, "shop.other")

    def steps(**query: str) -> list[str]:
        return sorted(row[0] + row[1] for row in table(parse(superuser.get(STEPS, query))))

    assert steps() == ["charge shop.process1", "pack shop.other1"]
    assert steps(when="week") == ["charge shop.process2", "pack shop.other1"]
    assert steps(when="week", workflow="shop.other") == ["pack1"]
    assert steps(until="2000-01-01") == []
    assert steps(workflow="'; --") == []


def test_the_list_leads_to_the_steps_of_what_it_shows(superuser: Client) -> None:
    completed("order-1", {"charge": 1.0})

    (link,) = open_list(superuser, workflow="shop.process").one("p", **{"class": "hookflow-steps-link"}).all("a")

    assert link.attributes["href"] == "steps/?when=week&workflow=shop.process"
    assert len(table(parse(superuser.get(f"{RUNS}{link.attributes['href']}")))) == 1


@pytest.mark.parametrize(
    "query", [{"when": "x"}, {"since": "y"}, {"workflow": "\0"}, {"until": "0001-01-01T00:00+14:00"}]
)
def test_an_odd_address_is_no_server_error(superuser: Client, query: dict[str, str]) -> None:
    assert superuser.get(STEPS, query).status_code in (200, 302)


def test_it_takes_the_permission_to_see_runs(staff: Callable[..., Client]) -> None:
    assert staff("view_deadletterentry").get(STEPS).status_code == 403


def test_what_is_left_out_is_said(superuser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    completed("order-1", {"charge": 1.0})
    completed("order-2", {"charge": 1.0, "ship": 1.0})

    monkeypatch.setattr(step_times, "RUNS", (1, 1))
    assert "Only the newest 1 runs of this period are counted" in parse(superuser.get(STEPS)).text
    monkeypatch.setattr(step_times, "RUNS", (10, 1))
    monkeypatch.setattr(step_times, "ATTEMPTS", 2)
    assert "Of 2 attempts only" in parse(superuser.get(STEPS)).text


def test_one_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    completed("order-1", {"charge": 1.0})
    monkeypatch.setattr(step_times, "SECONDS", 0.05)

    found = read_step_times(WorkflowRun.objects.extra(where=["pg_sleep(60) IS NOT NULL"]))

    assert (found.lines, found.note) == (
        [],
        "Gave up after 0.05 s: choose one workflow, or a shorter period.",
    )
