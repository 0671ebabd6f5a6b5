"""A run of the engine, from trigger to end, as the admin shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import WorkflowContext, workflow
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


def test_a_failed_run(superuser: Client) -> None:
    with Hookflow() as hookflow:
        run = hookflow.run(order, {"prices": [], "broken": True})

    page = parse(superuser.get(f"{RUNS}{run.pk}/change/"))

    assert status(page) == "Failed"
    assert "KeyError: 'card'" in page.one("pre", **{"class": "hookflow-traceback"}).raw_text
    assert "In step charge, after 1 attempt." in page.text
