"""What users of 0.0.x have written against ``WorkflowRun.id``: in Python, in queries, in serializers and in SQL of their own."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.forms.models import model_to_dict

from django_hookflow.models import StepExecution, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(hookflow: Hookflow) -> WorkflowRun:
    return hookflow.make_run("shop.read", run_id="order-1", steps={"charge": 7})


def test_the_key_is_a_uuid_called_id(run: WorkflowRun) -> None:
    assert isinstance(run.id, UUID)
    assert run.pk == run.id
    assert WorkflowRun._meta.pk.name == "id"
    fields = {field.name: field for field in WorkflowRun._meta.fields}
    shown = {name: fields[name].value_from_object(run) for name in ("id", "run_id", "status")}
    assert shown == {"id": run.id, "run_id": "order-1", "status": "completed"}
    assert model_to_dict(run, fields=["run_id", "status"]) == {"run_id": "order-1", "status": "completed"}


def test_queries_by_it(run: WorkflowRun) -> None:
    assert WorkflowRun.objects.get(id=run.id) == WorkflowRun.objects.get(id=str(run.id)) == run
    assert list(WorkflowRun.objects.filter(id__in=[run.id]).values("id")) == [{"id": run.id}]
    assert list(WorkflowRun.objects.order_by("id").values_list("id", flat=True)) == [run.id]
    assert WorkflowRun.objects.in_bulk([run.id]) == {run.id: run}
    assert list(StepExecution.objects.values_list("workflow_run_id", "workflow_run__id")) == [(run.id, run.id)]
    assert StepExecution.objects.get(workflow_run_id=run.id).workflow_run == run


def test_sql_that_joins_by_it(run: WorkflowRun) -> None:
    rows = ask(
        "SELECT r.id, r.run_id, s.step_id FROM django_hookflow_stepexecution s "
        "JOIN django_hookflow_workflowrun r ON s.workflow_run_id = r.id WHERE r.id = %s",
        run.id,
    )
    assert rows == [{"id": run.id, "run_id": "order-1", "step_id": "charge"}]
