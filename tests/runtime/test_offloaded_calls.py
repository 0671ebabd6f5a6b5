"""Offloaded calls: what is published, and what becomes of reports, whenever and however often they come. That they come to
what ordinary ones come to is shown in ``test_calls``."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import Wait, WorkflowEvent, WorkflowRun
from django_hookflow.projections import diff
from django_hookflow.sealing import opened
from django_hookflow.testing import Hookflow
from tests.delivery.servers import Answer, Server, running_server
from tests.runtime.offloading import ORIGIN, Offloader, answered, make, report, report_to, running_offloader

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "Bearer " + "k" * 20


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        running.otherwise = Answer(200, b'"paid"')
        yield running


@pytest.fixture
def offloader(hookflow: Hookflow, settings: Settings) -> Iterator[Offloader]:
    with running_offloader(hookflow, settings) as offloader:
        yield offloader


@workflow(workflow_id="tests.offloaded", retry=Retry(max_attempts=2, first_delay=1))
def charging(ctx: WorkflowContext) -> Any:
    steps = ctx.step.options(offload=True, timeout=90)
    return steps.call("charge", ctx.data["url"], "POST", {"amount": 5}, {"Authorization": SECRET})["data"]


@workflow(workflow_id="tests.offloaded_group")
def grouped(ctx: WorkflowContext) -> Any:
    with ctx.step.parallel() as group:
        calls = [group.options(offload=True).call(f"call-{n}", ctx.data["url"]) for n in range(3)]
        here = group.run("here", lambda: "here")
    return [*(each.result()["data"] for each in calls), here.result()]


@workflow(workflow_id="tests.offloaded_async")
async def awaited(ctx: WorkflowContext) -> Any:
    steps: Any = ctx.step.options(offload=True)
    answers = await asyncio.gather(*(steps.call(f"call-{n}", ctx.data["url"]) for n in range(3)))
    return [each["data"] for each in answers]


@workflow(workflow_id="tests.offloaded_wrongly")
def wrong(ctx: WorkflowContext) -> Any:
    return ctx.step.options(offload=True).run("look", lambda: 1)


def suspend(offloader: Offloader, server: Server) -> str:
    """A run that waits for the answer to its call."""
    run_id = charging.trigger({"url": server.url})
    assert offloader.deliver(run_id) == "suspended"
    return run_id


def steps_of(hookflow: Hookflow, run_id: str) -> list[str]:
    return [line for line in hookflow.history(run_id) if line.startswith("step.")]


def assert_nothing_changes(said: Any, expected: tuple[int, str], offloader: Offloader, **headers: Any) -> Any:
    before = WorkflowEvent.objects.count()
    response = report(offloader.published[0], said, **headers)
    assert (response.status_code, response.json().get("status", response.json().get("error"))[:60]) == expected
    assert WorkflowEvent.objects.count() == before
    return response


def test_what_is_published_hides_its_secrets_and_is_tried_once(offloader: Offloader, server: Server) -> None:
    run_id = suspend(offloader, server)
    run = WorkflowRun.objects.get(run_id=run_id)
    [published] = offloader.published
    assert server.received == []
    wait = Wait.objects.get(run=run, kind="callback")
    assert published.path == f"/v2/publish/{server.url}"
    assert json.loads(published.body) == {"amount": 5}
    said = {name: each for name, each in published.headers.items() if name.startswith(("Upstash-", "Content-Type"))}
    redacted = said.pop("Upstash-Redact-Fields").split(",")
    assert redacted[0] == "body"
    assert "header[Authorization]" in redacted
    assert said.pop("Upstash-Forward-Idempotency-Key")
    assert said == {
        "Content-Type": "application/json",
        "Upstash-Forward-Authorization": SECRET,
        "Upstash-Forward-User-Agent": "django-hookflow",
        "Upstash-Method": "POST",
        "Upstash-Retries": "0",
        "Upstash-Timeout": "90s",
        "Upstash-Deduplication-Id": f"{run.run_uid}-{wait.key}",
        "Upstash-Label": f"hookflow-{run.run_uid}",
        "Upstash-Callback": f"{ORIGIN}/hookflow/callback/{run.run_uid}/{wait.key}/",
    }
    [suspended] = [event for event in offloader.hookflow.events(run_id) if event.type == "step.suspended"]
    assert suspended.facts["seconds"] == 90 + 300


def test_user_and_password_of_a_url_go_as_a_header(offloader: Offloader, server: Server) -> None:
    run_id = charging.trigger({"url": server.url.replace("://", "://ada:secret@") + "/x?y=1#z"})
    offloader.deliver(run_id)
    [published] = offloader.published
    assert published.path == f"/v2/publish/{server.url}/x?y=1"


def test_an_answer_is_recorded_once_however_often_it_is_reported(offloader: Offloader, server: Server) -> None:
    run_id = suspend(offloader, server)
    [published] = offloader.published
    said = make(published)
    assert report(published, said).json() == {"status": "recorded"}
    assert_nothing_changes(said, (200, "stale"), offloader)
    run = offloader.drive(run_id)
    assert (run.status, run.result) == ("completed", "paid")
    assert_nothing_changes(said, (200, "finished"), offloader)
    assert steps_of(offloader.hookflow, run_id) == ["step.suspended charge", "step.completed charge"]
    assert list(diff()) == []


def test_a_report_that_is_not_signed_for_this_call_changes_nothing(offloader: Offloader, server: Server) -> None:
    suspend(offloader, server)
    said, other = answered(200, b'"stolen"'), f"{ORIGIN}/hookflow/callback/{uuid.uuid4()}/{uuid.uuid4()}/"
    assert_nothing_changes(said, (401, "signature refused: the Upstash-Signature header is missing o"), offloader, **{"Upstash-Signature": ""})  # fmt: skip
    response = assert_nothing_changes(said, (401, f"signature refused: it was made for '{other}"[:60]), offloader, signed_for=other)  # fmt: skip
    assert "error" in response.json()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        b"\xff",
        {"status": "200"},
        {"status": True},
        {"status": 200, "body": "no base64!"},
        {"status": 200, "body": 5},
        {"status": 200, "header": 5},
        {"status": 500, "retried": "1"},
    ],
)
def test_what_is_no_report_is_refused(offloader: Offloader, server: Server, said: Any) -> None:
    suspend(offloader, server)
    before = WorkflowEvent.objects.count()
    response = report(offloader.published[0], said)
    assert response.status_code == 400
    assert response.json()["error"].startswith("the body is not a QStash callback")
    assert WorkflowEvent.objects.count() == before


def test_a_report_that_is_too_large_is_refused_unread(offloader: Offloader, server: Server) -> None:
    suspend(offloader, server)
    with override_settings(DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE=1024):
        assert report(offloader.published[0], answered(200, b"x" * 300_000)).status_code == 413
        assert report(offloader.published[0], answered(200, b"x" * 2_000)).json() == {"status": "recorded"}


def test_reports_for_what_is_not_there(offloader: Offloader, server: Server) -> None:
    run_id = suspend(offloader, server)
    run_uid = WorkflowRun.objects.get(run_id=run_id).run_uid
    unknown = report_to(f"{ORIGIN}/hookflow/callback/{uuid.uuid4()}/{uuid.uuid4()}/", answered(200))
    assert (unknown.status_code, unknown.headers["Upstash-NonRetryable-Error"]) == (489, "true")
    url = f"{ORIGIN}/hookflow/callback/{run_uid}/{uuid.uuid4()}/"
    early = report_to(url, answered(200))
    assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
    assert report_to(url, answered(200), **{"Upstash-Retried": "2"}).headers["Retry-After"] == "180"
    WorkflowRun.objects.get(run_id=run_id).cancel()
    assert report_to(url, answered(200)).json() == {"status": "finished"}


def test_an_attempt_that_qstash_makes_again_is_not_final(offloader: Offloader, server: Server) -> None:
    suspend(offloader, server)
    assert_nothing_changes(answered(500) | {"maxRetries": 3}, (200, "ignored"), offloader)
    assert report(offloader.published[0], answered(500, retried=3) | {"maxRetries": 3}).json() == {"status": "recorded"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (answered(0), "requests.exceptions.ConnectionError"),
        (answered(302, header={"Location": ["/moved"]}), "requests.exceptions.TooManyRedirects"),
        (answered(200, b"[1, 2", {"Content-Length": ["900"]}), "requests.exceptions.ConnectionError"),
        (answered(404), "django_hookflow.runtime.calls.CallFailed"),
    ],
)
def test_what_is_no_answer_fails_the_attempt(
    offloader: Offloader, server: Server, said: dict[str, Any], error: str
) -> None:
    run_id = suspend(offloader, server)
    report(offloader.published[0], said)
    offloader.deliver(run_id)
    failed = next(event for event in offloader.hookflow.events(run_id) if event.type == "step.failed")
    assert failed.facts["error"] == error


def test_a_report_that_is_lost_fails_the_attempt_and_one_that_is_late_changes_nothing(
    offloader: Offloader, server: Server
) -> None:
    run_id = suspend(offloader, server)
    assert offloader.deliver(run_id) == "suspended"
    [failed] = [event for event in offloader.hookflow.events(run_id) if event.type == "step.failed"]
    assert failed.facts["error"] == "django_hookflow.runtime.offloading.AnswerMissing"
    assert failed.payload["message"].endswith("was sent through QStash, which reported no answer within 390 s")
    assert_nothing_changes(answered(200), (200, "stale"), offloader)
    offloader.deliver(run_id)
    first, second = offloader.published
    assert first.headers["Upstash-Forward-Idempotency-Key"] == second.headers["Upstash-Forward-Idempotency-Key"]
    assert first.headers["Upstash-Callback"] != second.headers["Upstash-Callback"]
    assert_nothing_changes(answered(200), (200, "stale"), offloader)
    assert report(second, make(second)).json() == {"status": "recorded"}
    assert offloader.drive(run_id).result == "paid"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_lost_around_the_publication_neither_loses_nor_doubles_it(
    offloader: Offloader, server: Server, when: Any
) -> None:
    offloader.hookflow.crash("charge", when)
    assert offloader.run(charging, {"url": server.url}).result == "paid"
    assert len(server.received) == 1


def test_a_publication_that_fails_is_a_failed_attempt(offloader: Offloader, server: Server) -> None:
    offloader.server.otherwise = Answer(400, b'{"error": "no such host"}')
    run_id = charging.trigger({"url": server.url})
    offloader.deliver(run_id)
    offloader.server.otherwise = Answer()
    [failed] = [event for event in offloader.hookflow.events(run_id) if event.type == "step.failed"]
    assert "no such host" in failed.payload["message"]


@pytest.mark.parametrize("url", ["", "no-url", "http://", 5])
def test_what_cannot_be_sent_fails_as_an_ordinary_call_does(offloader: Offloader, url: Any) -> None:
    run = offloader.run(charging, {"url": url})
    assert run.status == "failed"
    with override_settings(DJANGO_HOOKFLOW_TRANSPORT="inline"):
        ordinary = offloader.hookflow.run(charging, {"url": url})
    assert ordinary.status == "failed"
    assert run.error_message == ordinary.error_message


@pytest.mark.parametrize("several", [grouped, awaited])
def test_several_wait_together(offloader: Offloader, server: Server, several: Any) -> None:
    run = offloader.run(several, {"url": server.url})
    assert run.status == "completed", run.error_message
    assert run.result == (["paid"] * 3 + (["here"] if several is grouped else []))
    assert len(server.received) == len(offloader.published) == 3


@pytest.mark.parametrize("transport", ["http", "inline"])
def test_without_qstash_the_turn_makes_the_request(
    hookflow: Hookflow, server: Server, settings: Settings, transport: str
) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = transport
    run_id = charging.trigger({"url": server.url})
    assert hookflow.drive(run_id).result == "paid"
    assert steps_of(hookflow, run_id) == ["step.intended charge", "step.completed charge"]


def test_a_stub_takes_the_place_of_the_request(offloader: Offloader, server: Server) -> None:
    offloader.hookflow.stub("charge", {"status_code": 200, "data": "stubbed"})
    assert offloader.run(charging, {"url": server.url}).result == "stubbed"
    assert offloader.published == server.received == []


def test_nothing_but_a_call_is_offloaded(offloader: Offloader) -> None:
    run = offloader.run(wrong, {})
    assert "step 'look': options(offload=True) only works with ctx.step.call" in run.error_message


def test_a_step_that_is_rewound_is_asked_for_anew(offloader: Offloader, server: Server) -> None:
    run_id = suspend(offloader, server)
    first = offloader.published[0]
    report(first, make(first))
    WorkflowRun.objects.get(run_id=run_id).rewind(to_step="charge", reason="again")
    run = offloader.drive(run_id)
    assert (run.status, len(offloader.published)) == ("completed", 2)


def test_what_is_answered_is_recorded_once(offloader: Offloader, server: Server) -> None:
    server.otherwise = Answer(200, b'"paid in full"')
    run_id = suspend(offloader, server)
    report(offloader.published[0], make(offloader.published[0]))
    texts = [json.dumps(event.payload) for event in offloader.hookflow.events(run_id)]
    assert [text.count("paid in full") for text in texts if "paid in full" in text] == [1]
    assert offloader.drive(run_id).result == "paid in full"


class Reversed:
    """A seal that can be looked through."""

    def seal(self, run_uid: uuid.UUID, text: str) -> str:
        return f"{run_uid} {text[::-1]}"

    def open(self, run_uid: uuid.UUID, sealed: str) -> str:
        return sealed.removeprefix(f"{run_uid} ")[::-1]


@pytest.mark.parametrize("statuses", [[200], [503, 200]])
def test_answers_are_sealed(offloader: Offloader, server: Server, settings: Settings, statuses: list[int]) -> None:
    settings.DJANGO_HOOKFLOW_SEAL = f"{__name__}.{Reversed.__name__}"
    server.answers.extend(Answer(status, b'"paid in full"') for status in statuses)
    run = offloader.run(charging, {"url": server.url})
    assert run.status == "completed"
    assert opened(run.run_uid, run.result) == "paid in full"
    answers = [
        part
        for event in offloader.hookflow.events(run.run_id)
        for name, part in (event.payload or {}).items()
        if name in ("answer", "result")
    ]
    assert len(answers) == len(statuses) + 1  # and the run's own result
    assert all(part.keys() == {"$sealed"} for part in answers)
    assert list(diff()) == []


@pytest.mark.parametrize("statuses", [[200], [503, 200]])
def test_of_a_redacted_run_no_answer_is_left_or_taken(
    offloader: Offloader, server: Server, statuses: list[int]
) -> None:
    server.answers.extend(Answer(status, b'"paid in full"') for status in statuses)
    run = offloader.run(charging, {"url": server.url})
    assert run.result == "paid in full"
    run.redact(reason="asked for")
    assert_nothing_changes(answered(200, b'"paid in full"'), (200, "finished"), offloader)
    payloads = [event.payload for event in offloader.hookflow.events(run.run_id) if event.type.startswith("step.")]
    assert payloads == [None] * len(payloads)
    assert WorkflowRun.objects.get(run_id=run.run_id).result is None
    assert list(diff()) == []


def test_a_report_in_the_stateless_mode_is_refused_for_good(offloader: Offloader, server: Server) -> None:
    suspend(offloader, server)
    with override_settings(DJANGO_HOOKFLOW_PERSISTENCE_ENABLED=False):
        response = report(offloader.published[0], answered(200))
    assert (response.status_code, response.headers["Upstash-NonRetryable-Error"]) == (489, "true")
    assert "needs the event log" in response.json()["error"]
