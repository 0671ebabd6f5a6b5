"""Who subscribes from the start is not handed what happened before the upgrade, unless it asks for that."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.upgrade.old_release import Project

SUBSCRIBE = """
import json, django
from django.conf import settings
settings.DJANGO_HOOKFLOW_TRANSPORT = 'inline'
django.setup()
from django_hookflow import on_event
from django_hookflow.feed.delivering import Delivery
from django_hookflow.feed.subscribers import registered_subscriptions
from django_hookflow.models import WorkflowRun
from shop.workflows import order
WorkflowRun.objects.get(run_id='awake').resume()
order.trigger(run_id='new')
handed = {'spared': [], 'asks': []}
on_event('*', name='spared', from_start=True)(lambda event: handed['spared'].append((event.run_id, event.type)))
def asks(event):
    handed['asks'].append((event.run_id, event.type))
on_event('*', name='asks', from_start=True, imported=True)(asks)
Delivery(registered_subscriptions()).run_once()
print(json.dumps(handed))
"""


def test_it_is_handed_what_came_since_and_all_if_it_asks(upgraded: Project) -> None:
    handed: dict[str, list[list[Any]]] = json.loads(upgraded.new("-c", SUBSCRIBE).splitlines()[-1])
    assert handed["spared"] == [["awake", "run.resumed"], ["new", "run.triggered"]]
    assert len(handed["asks"]) == upgraded.database.value("SELECT count(*) FROM django_hookflow_event")
