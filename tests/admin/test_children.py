"""Runs that a run has started, on the pages of both, in the terminal, and what the doctor says of a wait that is not settled."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command

from django_hookflow import Workflow, WorkflowContext, workflow
from django_hookflow.doctor.runs import look_at_runs
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.admin.conftest import RUNS, count_queries
from tests.admin.page import Element, facts, parse, section
from tests.log.calls import ask

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(hookflow: Hookflow) -> Workflow:
    @workflow(workflow_id="tests.pages.invoice")
    def invoice(ctx: WorkflowContext) -> Any:
        if ctx.data.get("again"):
            return ctx.continue_as_new({})
        return ctx.step.wait_for_signal("paid") if ctx.data.get("wait") else 7

    @workflow(workflow_id="tests.pages.order")
    def order(ctx: WorkflowContext) -> Any:
        return [ctx.step.child("first", invoice), ctx.step.child("second", invoice, ctx.data, run_id="inv-2")]

    return order


def open_run(client: Client, run: WorkflowRun) -> Element:
    return parse(client.get(f"{RUNS}{run.pk}/change/"))


def timeline(run_id: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command("hookflow_timeline", run_id, *arguments, stdout=out, no_color=True)
    return out.getvalue()


def test_a_run_leads_to_those_it_started_and_back(superuser: Client, hookflow: Hookflow, order: Workflow) -> None:
    run = hookflow.run(order, {"wait": True}, run_id="order-1")
    first, second = run.children.order_by("created_at")
    page = open_run(superuser, run)
    rows = section(page, "children").rows()
    assert [row[:3] for row in rows] == [["inv-2", "second", "Running"], [first.run_id, "first", "Completed"]]
    assert "1 completed, 1 running" in section(page, "children").text
    links = [link.attributes["href"] for link in section(page, "steps").all("a") if "change" in link.attributes["href"]]
    assert links == [f"{RUNS}{each.pk}/change/" for each in (first, second)]
    assert str(second.pk) in str([link.attributes["href"] for link in section(page, "waterfall").all("a")])
    assert facts(open_run(superuser, second))["Child of"] == "order-1"


def test_many_children_cost_no_query_each(superuser: Client, hookflow: Hookflow, order: Workflow) -> None:
    run = hookflow.run(order, {"wait": True})
    open_run(superuser, run)  # which looks up, once a process, what kinds of content there are
    with count_queries() as few:
        open_run(superuser, run)
    ask(
        "INSERT INTO django_hookflow_workflowrun (id, run_id, workflow_id, status, data, error_type, error_message, label, "
        "created_at, updated_at, completed_at, parent_uid, parent_step) SELECT gen_random_uuid(), 'many-' || n, 'w', "
        "'completed', '{}', '', '', '', now(), now(), now(), %s, 'many' FROM generate_series(1, 200) n",
        run.pk,
    )
    with count_queries() as many:
        page = open_run(superuser, run)
    assert len(many) == len(few)
    assert len(section(page, "children").rows()) == 50
    assert "201 completed, 1 running" in section(page, "children").text


def test_a_run_that_goes_on_as_another(superuser: Client, hookflow: Hookflow, order: Workflow) -> None:
    run = hookflow.run(order, {"again": True})
    assert run.status == "completed"
    old, new = (WorkflowRun.objects.get(run_id=run_id) for run_id in ("inv-2", "inv-2~2"))
    shown = facts(open_run(superuser, old))
    assert (shown["Continued as"], shown["Child of"]) == ("inv-2~2", run.run_id)
    assert facts(open_run(superuser, new))["Continues"] == "inv-2"
    assert "continued as run inv-2~2" in open_run(superuser, old).one("span", id="hookflow-sentence").text


def test_in_the_terminal(hookflow: Hookflow, order: Workflow) -> None:
    run = hookflow.run(order, {"again": True}, run_id="order-1")
    text = timeline("order-1", "--events")
    assert "started   inv-2 in second  completed" in text
    assert "started   inv-2~2 in second  completed" in text
    assert "child of  order-1" in timeline("inv-2")
    assert "continued as inv-2~2" in timeline("inv-2")
    assert "after     inv-2" in timeline("inv-2~2")
    assert '"run_id": "inv-2~2"' in timeline(run.run_id, "--json")


def test_who_waits_for_what_has_ended_is_named(hookflow: Hookflow, order: Workflow) -> None:
    run = hookflow.run(order, {"wait": True}, run_id="order-1")
    assert [finding.code for finding in look_at_runs(None)] == ["runs.fine"]  # type: ignore[arg-type] # it is not asked
    child = run.children.get(run_id="inv-2")
    child.cancel()
    hookflow.advance(120)
    [found] = look_at_runs(None)  # type: ignore[arg-type]
    assert found.code == "runs.unjoined"
    assert "1 run still waiting for a child that has ended. Example: order-1 waits for inv-2" in found.seen
    ask("DELETE FROM django_hookflow_outbox")
    assert ask("SELECT hookflow_rejoin(NULL) AS n")[0]["n"] == 1
    assert hookflow.drive("order-1").status == "failed"
    assert [finding.code for finding in look_at_runs(None)] == ["runs.failed"]  # type: ignore[arg-type]
