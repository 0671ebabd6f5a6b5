"""A run of the engine, from trigger to end, as the admin shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.admin.run_list.sparkline import Bar, outline
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.admin.conftest import RUNS
from tests.admin.page import facts, log_of, parse, section, status

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.admin.order")
def order(ctx: WorkflowContext) -> Any:
    total = ctx.step.run("add up", sum, ctx.data["prices"])
    ctx.step.sleep("wait", seconds=3600)
    if ctx.data["broken"]:
        ctx.step.run("charge", lambda: dict[str, str]()["card"])
    return {"total": total}


work: list[Callable[[], None]] = []


@workflow(workflow_id="tests.admin.slow")
def slow(ctx: WorkflowContext) -> None:
    ctx.step.run("charge", work.pop())


def test_a_completed_run(superuser: Client) -> None:
    with Hookflow() as hookflow:
        run = hookflow.run(order, {"prices": [2, 3], "broken": False})

    page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))

    assert status(page) == "Completed"
    assert facts(page)["Duration"] == "1 h"
    assert facts(page)["Result"] == '{"total":5}'
    assert section(page, "steps").rows()[0][0] == "add up"
    assert log_of(page)[0] == "#1 run.triggered"
    assert log_of(page)[-1].endswith("run.completed")


def test_a_step_of_60_s_is_one_of_60_s_everywhere_though_the_run_was_paused_at_50_s(superuser: Client) -> None:
    with Hookflow() as hookflow:

        def charge() -> None:
            hookflow.advance(50)
            WorkflowRun.objects.get(run_id="order-1").pause(reason="a look at it")
            hookflow.advance(10)

        work.append(charge)
        slow.trigger(run_id="order-1")
        hookflow.deliver("order-1")
        run = WorkflowRun.objects.get(run_id="order-1")
        listed = parse(superuser.get(RUNS)).one("table", id="result_list")
        page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))

    assert run.status == "paused"
    (step,) = run.step_executions.all()
    assert step.took is not None
    assert step.took == pytest.approx(60, abs=0.5)
    (path,) = listed.one("svg").all("path")
    assert path.attributes["d"] == outline(Bar("completed", 60), 0)
    (row,) = section(page, "steps").rows()
    assert row[5:8] == ["1 min", "1 min", "–"]
    (mark,) = section(page, "waterfall").one("li", **{"class": "hookflow-line hookflow-is-completed"}).all("g")
    assert mark.one("title").text.startswith("attempt 1: completed, 1 min, from ")


def test_a_failed_run(superuser: Client) -> None:
    with Hookflow() as hookflow:
        run = hookflow.run(order, {"prices": [], "broken": True})

    page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))

    assert status(page) == "Failed"
    assert "KeyError: 'card'" in page.one("pre", **{"class": "hookflow-traceback"}).raw_text
    assert "In step charge, after 1 attempt." in page.text
