"""Fills a database through 0.0.4's own code: its trigger, its webhook, its dead letters. Run by its interpreter.

Prints, as JSON, the messages that are under way, by the run they are for.
"""

from __future__ import annotations

import json
import os
import sys
from unittest.mock import patch

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

import django_hookflow  # noqa: E402

assert django_hookflow.__version__ == "0.0.4"

from django.test import RequestFactory, override_settings  # noqa: E402
from django_hookflow.qstash import client  # noqa: E402
from django_hookflow.workflows import views  # noqa: E402
from shop.models import Basket, Mention, Note, Order, Receipt, Trace  # noqa: E402
from shop.workflows import breaks, crashes, order  # noqa: E402

from django_hookflow.dlq import DeadLetterEntry  # noqa: E402
from django_hookflow.models import StepExecution, WorkflowRun  # noqa: E402

sent = []


class QStash:
    def publish_json(self, url, body, delay=None, deduplication_id=None, headers=None):
        sent.append({"url": url, "body": json.dumps(body), "delay": delay})
        return {"messageId": "msg_x"}


client._client_instance = QStash()


def deliver(message):
    """Signatures apart, which 0.0.4 refuses when they are genuine."""
    workflow_id = json.loads(message["body"])["workflow_id"]
    request = RequestFactory().post("/", data=message["body"], content_type="application/json")
    with patch.object(views, "verify_qstash_signature", return_value=True):
        return views.workflow_webhook(request, workflow_id)


def go(workflow, run_id, turns, **data):
    workflow.trigger(data=data, run_id=run_id)
    for _ in range(turns):
        deliver(sent[-1])
    return sent[-1]


def fail(times=1):
    while deliver(sent[-1]).status_code != 500:
        pass
    for _ in range(times - 1):
        deliver(sent[-1])


def fill():
    live = {
        "pending": go(order, "pending", 0, number=1),
        "running": go(order, "running", 1, number=2),
        "sleeping": go(order, "sleeping", 2, number=3),
        "awake": go(order, "awake", 2, number=4, seconds=0),
        "ahead": go(order, "ahead", 3, number=5, seconds=0),
    }
    # What 0.0.4 logs as "failed to persist step": its message knows a step that the tables lack.
    StepExecution.objects.filter(workflow_run__run_id="ahead", step_id="charge").delete()
    go(order, "completed", 5, number=6, seconds=0)
    go(breaks, "failed", 1, number=7)
    fail()
    go(breaks, "failed-twice", 1, number=8)
    fail(times=2)
    go(breaks, "replayed", 1, number=9)
    fail()
    DeadLetterEntry.objects.get(run_id="replayed").replay()
    live["replay"] = sent[-1]
    go(crashes, "crashed", 2, number=10)
    os.environ["BREAKS"] = "1"
    go(breaks, "mended", 1, number=11)
    fail()
    os.environ["BREAKS"] = "0"
    deliver(sent[-1])
    deliver(sent[-1])
    os.environ["BREAKS"] = "1"
    with override_settings(DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=False):
        go(breaks, "stateless-failed", 1, number=12)
        fail()
        live["stateless"] = go(order, "stateless", 2, number=13, seconds=0)
    refer()
    return live


def refer():
    """Rows of the project about runs that have ended, and about one that has not."""
    runs = {run.run_id: run for run in WorkflowRun.objects.all()}
    for number, name in enumerate(("completed", "failed", "pending")):
        Order.objects.create(run=runs[name], number=number)
    Order.objects.create(run=None, number=99)
    Note.objects.create(run=runs["completed"], text="a")
    Note.objects.create(run=runs["completed"], text="b")
    Receipt.objects.create(run=runs["failed"])
    Mention.objects.create(run=runs["crashed"])
    Trace.objects.create(run=runs["completed"])
    Basket.objects.create().runs.set([runs["completed"], runs["sleeping"]])


json.dump(fill(), sys.stdout)
