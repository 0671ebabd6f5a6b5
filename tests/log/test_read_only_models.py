"""Nothing is written through the ORM, by no way it has, and who tries is shown the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_hookflow.exceptions import NotWritable
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db

MODELS: list[Any] = list(apps.get_app_config("django_hookflow").get_models())
WAY_OUT = r"read-only in the ORM.*run\.cancel\(\).*redact\(\).*cleanup_workflows.*hookflow\.make_run\(\)"

WRITES: dict[str, Callable[[Any], Any]] = {
    "save": lambda model: model().save(),
    "force_insert": lambda model: model().save(force_insert=True),
    "delete": lambda model: model(pk=1).delete(),
    "asave": lambda model: async_to_sync(model().asave)(),
    "adelete": lambda model: async_to_sync(model(pk=1).adelete)(),
    "create": lambda model: model.objects.create(),
    "get_or_create": lambda model: model.objects.get_or_create(pk=None),
    "update_or_create": lambda model: model.objects.update_or_create(pk=None),
    "bulk_create": lambda model: model.objects.bulk_create([model()]),
    "bulk_update": lambda model: model.objects.bulk_update([], ["pk"]),
    "update": lambda model: model.objects.update(),
    "filtered update": lambda model: model.objects.filter(pk=None).order_by().update(),
    "queryset's delete": lambda model: model.objects.all().delete(),
    "of another database": lambda model: model.objects.using("default").all().delete(),
    "base manager's": lambda model: model._base_manager.all().delete(),
    "default manager's": lambda model: model._default_manager.update(),
    "acreate": lambda model: async_to_sync(model.objects.all().acreate)(),
    "aget_or_create": lambda model: async_to_sync(model.objects.all().aget_or_create)(pk=None),
    "aupdate_or_create": lambda model: async_to_sync(model.objects.all().aupdate_or_create)(pk=None),
    "abulk_create": lambda model: async_to_sync(model.objects.all().abulk_create)([model()]),
    "abulk_update": lambda model: async_to_sync(model.objects.all().abulk_update)([], ["pk"]),
    "aupdate": lambda model: async_to_sync(model.objects.all().aupdate)(),
    "queryset's adelete": lambda model: async_to_sync(model.objects.all().adelete)(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_model_is_written(model: Any, write: Callable[[Any], Any]) -> None:
    with (
        CaptureQueriesContext(connection) as queries,
        pytest.raises(NotWritable, match=f"^{model.__name__} .*{WAY_OUT}"),
    ):
        write(model)
    assert len(queries) == 0


RELATED: dict[str, Callable[[Any], Any]] = {
    "create": lambda run: run.events.create(seq=9, type="run.noted"),
    "get_or_create": lambda run: run.step_executions.get_or_create(step_id="charge"),
    "update": lambda run: run.events.update(actor="mallory"),
    "delete": lambda run: run.events.all().delete(),
    "add": lambda run: run.step_executions.add(run.step_executions.get()),
    "add one by one": lambda run: run.waits.add(run.waits.model(), bulk=False),
    "set": lambda run: run.events.set([]),
    "clear": lambda run: run.events.clear(),
    "remove": lambda run: run.events.remove(run.events.first()),
    "the run of an event": lambda run: run.events.first().workflow_run.delete(),
}


@pytest.mark.parametrize("write", RELATED.values(), ids=RELATED)
def test_nor_through_a_relation(hookflow: Hookflow, write: Callable[[Any], Any]) -> None:
    run = hookflow.make_run("shop.read", steps={"charge": 1})
    before = [list(model.objects.order_by("pk").values()) for model in MODELS]
    with pytest.raises(NotWritable, match=WAY_OUT), transaction.atomic():
        write(run)
    assert [list(model.objects.order_by("pk").values()) for model in MODELS] == before


def test_events_are_there_whatever_has_become_of_their_projection(hookflow: Hookflow) -> None:
    run = hookflow.make_run("shop.read", run_id="order-1", steps={"charge": 1})
    with connection.cursor() as c:
        c.execute("DELETE FROM django_hookflow_workflowrun")

    events: Any = type(run.events.get(seq=1)).objects
    told = ["run.triggered", "turn.started", "step.completed", "run.completed"]
    for found in (run.events.all(), events.filter(workflow_run=run.id), events.filter(run_id="order-1"), events.all()):
        assert [event.type for event in found.order_by("seq")] == told
        assert {event.run_id for event in found} == {"order-1"}
