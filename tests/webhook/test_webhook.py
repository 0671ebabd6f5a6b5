"""The webhook over HTTP: what it accepts, and what it answers to everything else with nothing changed."""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection, transaction
from django.test import Client, override_settings
from django.urls import reverse

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery.messages import webhook_url
from django_hookflow.delivery.signature import sign
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.registry import get_workflow
from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.webhook")
def greet(ctx: WorkflowContext) -> str:
    in_transaction = ctx.step.run("look", lambda: transaction.get_connection().in_atomic_block)
    ctx.step.sleep("nap", seconds=30)
    return f"in a transaction: {in_transaction}"


def deliver(
    body: bytes | dict[str, Any], workflow_id: str = "tests.webhook", *, signature: str | None = None, **headers: str
) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    path = f"/hookflow/workflow/{workflow_id}/"
    if signature is None:
        signature = sign(raw, f"http://testserver{path}")
    client = Client(enforce_csrf_checks=True)
    return client.post(path, raw, content_type="application/json", headers={"Upstash-Signature": signature, **headers})


def message(run_id: str, seq: int = 1, workflow_id: str = "tests.webhook") -> dict[str, Any]:
    return {"workflow_id": workflow_id, "run_id": run_id, "seq": seq}


def count() -> int:
    return WorkflowEvent.objects.count()


def test_a_signed_delivery_runs_a_turn_and_its_journey_is_recorded(hookflow: Hookflow) -> None:
    run_id = greet.trigger()
    response = deliver(message(run_id), **{"Upstash-Message-Id": "msg_1", "Upstash-Retried": "2"})
    assert (response.status_code, response.json()) == (200, {"status": "suspended"})
    started = hookflow.events(run_id)[1]
    assert started.type == "turn.started"
    assert started.facts["message_id"] == "msg_1"
    assert started.facts["retried"] == "2"


def test_what_is_decided_is_answered_with_200_and_no_event(hookflow: Hookflow) -> None:
    run_id = greet.trigger()
    deliver(message(run_id))
    before = count()
    assert deliver(message(run_id)).json() == {"status": "stale"}
    hookflow.drive(run_id)
    assert deliver(message(run_id)).json() == {"status": "finished"}
    assert count() == before + 3


def test_a_wake_up_that_comes_early_is_asked_to_come_again(hookflow: Hookflow) -> None:
    """Scenario 7."""
    run_id = greet.trigger()
    deliver(message(run_id))
    response = deliver(message(run_id, seq=4))
    assert response.status_code == 503
    assert 1 <= int(response.headers["Retry-After"]) <= 30
    assert "early" in response.json()["error"]
    hookflow.advance(31)
    assert deliver(message(run_id, seq=4)).json() == {"status": "completed"}


def test_a_busy_run_ends_a_duplicate_but_has_a_failed_delivery_come_again(hookflow: Hookflow) -> None:
    """A first delivery that finds the run busy is a duplicate; a repeated one may be what a killed worker left behind."""
    run_id = greet.trigger()
    hookflow.crash("look")
    assert hookflow.deliver(run_id).answer == "crashed"
    assert deliver(message(run_id)).json() == {"status": "busy"}
    repeated = deliver(message(run_id), **{"Upstash-Retried": "1"})
    assert repeated.status_code == 503
    assert 50 <= int(repeated.headers["Retry-After"]) <= 60
    hookflow.advance(61)
    assert deliver(message(run_id), **{"Upstash-Retried": "2"}).json() == {"status": "suspended"}


def test_no_transaction_spans_a_turn_even_with_atomic_requests(hookflow: Hookflow) -> None:
    run_id = greet.trigger()
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        deliver(message(run_id))
        hookflow.drive(run_id)
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert WorkflowRun.objects.get(run_id=run_id).result == "in a transaction: False"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "object"),
        ({"run_id": "r", "seq": 1}, "workflow_id"),
        ({"workflow_id": "tests.webhook", "seq": 1}, "run_id"),
        ({"workflow_id": "tests.webhook", "run_id": "r"}, "seq"),
        ({"workflow_id": "tests.webhook", "run_id": "r", "seq": "1"}, "seq"),
        ({"workflow_id": "tests.webhook", "run_id": 5, "seq": 1}, "run_id"),
        ({"workflow_id": "tests.other", "run_id": "r", "seq": 1}, "tests.other"),
    ],
)
def test_a_body_that_is_no_message_is_a_400(body: Any, words: str, caplog: pytest.LogCaptureFixture) -> None:
    response = deliver(body)
    assert response.status_code == 400
    assert words in response.json()["error"]
    assert [record.levelno for record in caplog.records if record.name == "django_hookflow.webhook"] == [
        logging.WARNING
    ]
    assert not count()


SPOILED = "line\r\nERROR forged \x1b[31m\x85\u2028\u202e\x00"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("method", ["POST", "GET", "X\x1b[31m"])
def test_nothing_that_a_stranger_sends_is_written_raw_into_a_log_line(
    caplog: pytest.LogCaptureFixture, method: str, signed: bool
) -> None:
    """Path, method, headers and body; a key's holder has signed the body at most."""
    path = f"/hookflow/workflow/{quote(SPOILED + 'x' * 3_000)}/"
    body = json.dumps({"workflow_id": SPOILED + "y" * 100_000, "run_id": SPOILED, "seq": 1}).encode()
    headers = {"Upstash-Message-Id": SPOILED, "Upstash-Retried": SPOILED, "User-Agent": SPOILED}
    headers["Upstash-Signature"] = sign(body, f"http://testserver{path}") if signed else SPOILED
    response = Client().generic(method, path, body, content_type=SPOILED, headers=headers)
    assert response.status_code in (400, 401, 405)
    lines = [record.getMessage() for record in caplog.records if record.name == "django_hookflow.webhook"]
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert len(lines[0]) < 2_000


def test_what_unsigned_headers_say_is_recorded_so_that_everybody_can_read_it(hookflow: Hookflow) -> None:
    run_id = greet.trigger()
    deliver(message(run_id), **{"Upstash-Message-Id": SPOILED, "Upstash-Retried": "1\x00"})
    facts = hookflow.events(run_id)[1].facts
    assert facts["message_id"].isprintable()
    assert facts["retried"].isprintable()


@pytest.mark.parametrize("signature", ["", "garbage", "a.b.c"])
def test_a_bad_signature_is_a_401_and_changes_nothing(hookflow: Hookflow, signature: str) -> None:
    """Scenario 20."""
    run_id = greet.trigger()
    response = deliver(message(run_id), signature=signature)
    assert response.status_code == 401
    assert response.json()["error"]
    assert count() == 1


def test_a_body_other_than_the_signed_one_is_a_401(hookflow: Hookflow) -> None:
    """Scenario 20."""
    run_id = greet.trigger()
    signature = sign(json.dumps(message("other")).encode(), "http://testserver/hookflow/workflow/tests.webhook/")
    assert deliver(message(run_id), signature=signature).status_code == 401
    assert count() == 1


def test_a_signature_for_another_url_is_a_401(hookflow: Hookflow) -> None:
    """Scenario 20."""
    raw = json.dumps(message(greet.trigger())).encode()
    signature = sign(raw, "http://testserver/hookflow/workflow/tests.other/")
    assert deliver(raw, signature=signature).status_code == 401


def test_behind_a_tls_proxy_the_configured_domain_counts(hookflow: Hookflow) -> None:
    raw = json.dumps(message(greet.trigger())).encode()
    signature = sign(raw, "https://shop.example/hookflow/workflow/tests.webhook/")
    with override_settings(DJANGO_HOOKFLOW_DOMAIN="https://shop.example/"):
        assert deliver(raw, signature=signature).status_code == 200


def test_a_body_that_is_too_large_is_a_413_before_its_signature_is_looked_at() -> None:
    """Scenario 20."""
    response = deliver(b"x" * (1024 * 1024 + 1), signature="irrelevant")
    assert response.status_code == 413
    assert "1,048,576" in response.json()["error"]


def test_an_unknown_workflow_is_a_404_and_an_unknown_run_is_refused_for_good() -> None:
    response = deliver(message("r", workflow_id="no.such"), workflow_id="no.such")
    assert response.status_code == 404
    assert "no.such" in response.json()["error"]
    response = deliver(message("no-such-run"))
    assert response.status_code == 489
    assert response.headers["Upstash-NonRetryable-Error"] == "true"
    assert "no-such-run" in response.json()["error"]


def test_only_post_is_taken() -> None:
    response = Client().get("/hookflow/workflow/tests.webhook/")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("workflow_id", ["tests.webhook", "tests.web:hook;(1)"])
@pytest.mark.parametrize(
    ("domain", "path"),
    [("https://shop.example.com", "/backend/hookflow/"), ("https://shop.example.com/", "jobs")],
    ids=["prefix taken away", "another path"],
)
def test_behind_a_proxy_that_changes_the_path_the_url_is_the_published_one(
    hookflow: Hookflow, domain: str, path: str, workflow_id: str
) -> None:
    """The app sees another host and path than the deliverer; what was signed is where the message was sent."""
    workflow(workflow_id=workflow_id)(greet.function)
    with override_settings(DJANGO_HOOKFLOW_DOMAIN=domain, DJANGO_HOOKFLOW_WEBHOOK_PATH=path):
        run_id = get_workflow(workflow_id).trigger()
        body = message(run_id, workflow_id=workflow_id)
        published = webhook_url(workflow_id)
        elsewhere = sign(json.dumps(body).encode(), published.replace("shop", "other"))
        assert deliver(body, workflow_id, signature=elsewhere).status_code == 401
        assert published.startswith("https://shop.example.com/")
        signature = sign(json.dumps(body).encode(), published)
        assert deliver(body, workflow_id, signature=signature).json() == {"status": "suspended"}


@pytest.mark.parametrize(
    "name", ["django_hookflow:workflow", "django_hookflow:django_hookflow_workflows:workflow_webhook"]
)
def test_its_name_of_today_and_that_of_0_0_x_lead_to_it(name: str) -> None:
    assert reverse(name, args=["tests.webhook"]) == "/hookflow/workflow/tests.webhook/"
    assert reverse(name, kwargs={"workflow_id": "tests.webhook"}) == "/hookflow/workflow/tests.webhook/"
