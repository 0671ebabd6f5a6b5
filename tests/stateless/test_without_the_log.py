"""What is a matter of the log says so in the stateless mode, in one sentence, whatever the database is."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery.signature import sign
from django_hookflow.events.database import RouterWithoutLog
from django_hookflow.exceptions import NeedsLog
from django_hookflow.models import DeadLetterEntry, WorkflowRun

SENTENCE = (
    "needs the event log, but DJANGO_HOOKFLOW_PERSISTENCE_ENABLED is False: set it to True, use a PostgreSQL database, "
    "and run manage.py migrate"
)


@pytest.fixture(autouse=True)
def _stateless(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"


@pytest.mark.parametrize(
    "command",
    [
        ["cleanup_workflows"],
        ["hookflow_checkpoint", "--output", "{tmp}/checkpoint"],
        ["hookflow_export"],
        ["hookflow_partitions", "list"],
        ["hookflow_rebuild"],
        ["hookflow_rebuild", "--check"],
        ["hookflow_relay", "--once"],
        ["hookflow_relay"],
        ["hookflow_subscribers", "--list"],
        ["hookflow_subscribers", "--once"],
        ["hookflow_timeline", "order-1"],
        ["hookflow_verify"],
    ],
    ids=" ".join,
)
def test_a_command_about_the_log(command: list[str], tmp_path: Path) -> None:
    with pytest.raises(CommandError) as refusal:
        call_command(*[part.format(tmp=tmp_path) for part in command])
    assert str(refusal.value) == f"this {SENTENCE}"


@pytest.mark.parametrize(
    "act",
    [
        WorkflowRun(run_id="order-1").cancel,
        WorkflowRun(run_id="order-1").wake,
        lambda: WorkflowRun(run_id="order-1").note("looked at"),
        lambda: WorkflowRun(run_id="order-1").as_of(3),
        DeadLetterEntry(run_id="order-1").replay,
    ],
)
def test_an_operation(act: Callable[[], Any]) -> None:
    with pytest.raises(NeedsLog, match=SENTENCE):
        act()


def test_a_message_about_a_run_in_the_log_is_refused_for_good() -> None:
    body = json.dumps({"workflow_id": "tests.stateless.refused", "run_id": "order-1", "seq": 3}).encode()
    path = "/hookflow/workflow/tests.stateless.refused/"
    headers = {"Upstash-Signature": sign(body, f"http://testserver{path}")}
    response = Client().post(path, body, content_type="application/json", headers=headers)
    assert (response.status_code, response.headers["Upstash-NonRetryable-Error"]) == (489, "true")
    assert response.json() == {"error": f"this {SENTENCE}"}


@workflow(workflow_id="tests.stateless.refused")
def refused(ctx: WorkflowContext) -> None:
    raise NotImplementedError


def test_the_doctor_looks_at_everything_else(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        call_command("hookflow_doctor", "--json", "--offline")
    answer = json.loads(capsys.readouterr().out)
    skipped = {area["area"]: area["why"] for area in answer["skipped"]}
    assert skipped["runs"] == skipped["database"] == f"this {SENTENCE}"
    assert "signature.accepted" in {finding["code"] for finding in answer["findings"]}


def test_migrations_are_for_postgresql_which_the_log_may_be_turned_on_with() -> None:
    ours, another = (RouterWithoutLog().allow_migrate("default", app) for app in ("django_hookflow", "auth"))
    assert (connection.vendor, ours, another) == ("postgresql", None, None)
