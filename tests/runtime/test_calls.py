"""``ctx.step.call`` against a real HTTP server: what is sent, what is made of the answers, and what is refused.

Each holds for an ordinary call and for an offloaded one, but that QStash follows no redirect and keeps its own time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.delivery.servers import Answer, Hang, Server, running_server
from tests.runtime.offloading import Offloader, running_offloader

if TYPE_CHECKING:
    from pytest_django import Settings

Call = Callable[..., WorkflowRun]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    with running_server() as running:
        yield running


@workflow(workflow_id="tests.calls", retry=Retry(max_attempts=2, first_delay=1))
def calling(ctx: WorkflowContext) -> Any:
    arguments = dict(ctx.data)
    options = {"timeout": arguments.pop("timeout", None), "offload": arguments.pop("offload", False)}
    return ctx.step.options(**options).call("call", **arguments)


@pytest.fixture
def ordinary(hookflow: Hookflow) -> Call:
    return lambda **arguments: hookflow.run(calling, arguments)


@pytest.fixture
def offloader(hookflow: Hookflow, settings: Settings) -> Iterator[Offloader]:
    with running_offloader(hookflow, settings) as offloader:
        yield offloader


@pytest.fixture(params=["ordinary", "offloaded"])
def call(request: pytest.FixtureRequest, ordinary: Call) -> Call:
    if request.param == "ordinary":
        return ordinary
    offloader: Offloader = request.getfixturevalue("offloader")
    return lambda **arguments: offloader.run(calling, {**arguments, "offload": True})


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"id": 1, "price": 1.50}', {"id": 1, "price": 1.5}),
        (b"[1, null]", [1, None]),
        (b"plain text", "plain text"),
        ("Zoë".encode(), "Zoë"),
        (b"", None),
        (b"NaN", "NaN"),
        (b"[" * 100_000, "[" * 100_000),
        (b"\x89PNG\x00\xff", "\ufffdPNG\ufffd\ufffd"),
    ],
)
def test_the_result_is_status_and_data(call: Call, server: Server, body: bytes, data: Any) -> None:
    server.answers.append(Answer(201, body))
    run = call(url=server.url)
    assert run.status == "completed"
    assert run.result == {"status_code": 201, "data": data}


def test_the_charset_of_an_answer_counts(call: Call, server: Server) -> None:
    server.answers.append(Answer(200, "Zoë".encode("latin-1"), {"Content-Type": "text/plain; charset=ISO-8859-1"}))
    assert call(url=server.url).result == {"status_code": 200, "data": "Zoë"}


@pytest.mark.parametrize("method", ["DELETE", "GET", "POST"])
@pytest.mark.parametrize(("body", "sent"), [(None, b""), ("größe", "größe".encode()), ([1, None], b"[1, null]")])
def test_methods_and_bodies(call: Call, server: Server, method: str, body: Any, sent: bytes) -> None:
    assert call(url=server.url, method=method.lower(), body=body).status == "completed"
    [request] = server.received
    assert (request.method, request.body) == (method, sent)


def test_the_request_is_as_asked_and_its_headers_are_not_recorded(call: Call, server: Server) -> None:
    run = call(
        url=f"{server.url}/charges?dry=1",
        method="POST",
        body={"amount": 5},
        headers={"Authorization": "Bearer " + "k" * 20},
    )
    [request] = server.received
    assert (request.method, request.path, json.loads(request.body)) == ("POST", "/charges?dry=1", {"amount": 5})
    assert request.headers["Authorization"] == "Bearer " + "k" * 20
    assert request.headers["Idempotency-Key"]
    told = json.dumps(list(WorkflowEvent.objects.filter(workflow_run=run, seq__gt=1).values_list("payload", flat=True)))
    assert "kkkk" not in told


def test_every_attempt_carries_the_same_key_and_a_given_one_wins(call: Call, server: Server) -> None:
    server.answers.append(Answer(503))
    assert call(url=server.url, method="POST").status == "completed"
    first, second = [request.headers["Idempotency-Key"] for request in server.received]
    assert first == second
    server.received.clear()
    call(url=server.url, method="POST", headers={"idempotency-key": "mine"})
    [request] = server.received
    assert request.headers["Idempotency-Key"] == "mine"


@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 1), (401, 1), (404, 1), (409, 1), (408, 2), (425, 2), (429, 2), (500, 2), (503, 2)]
)
def test_a_failing_status_fails_the_step_and_some_are_tried_again(
    call: Call, server: Server, status: int, attempts: int
) -> None:
    server.otherwise = Answer(status, b"out of order")
    run = call(url=f"{server.url}/path?token=secret")
    assert run.status == "failed"
    assert run.error_message.endswith(f"GET {server.url}/path answered {status} (12 bytes)")
    assert "token=secret" not in run.error_message
    assert len(server.received) == attempts


def test_retry_after_sets_the_next_attempt(call: Call, hookflow: Hookflow, server: Server) -> None:
    server.answers.append(Answer(429, headers={"Retry-After": "120"}))
    run = call(url=server.url)
    [failed] = [event for event in hookflow.events(run.run_id) if event.type == "step.failed"]
    assert failed.facts["retry_in"] == 120


def test_a_redirect_within_the_origin_is_followed(ordinary: Call, server: Server) -> None:
    server.answers.extend([Answer(307, headers={"Location": "/moved"}), Answer(200, b'"here"')])
    assert ordinary(url=server.url).result == {"status_code": 200, "data": "here"}
    assert [request.path for request in server.received] == ["/", "/moved"]


def test_a_redirect_to_another_origin_is_refused(call: Call, server: Server, elsewhere: Server) -> None:
    server.otherwise = Answer(302, headers={"Location": f"{elsewhere.url}/steal"})
    run = call(url=server.url, headers={"X-Api-Key": "secret"})
    assert run.status == "failed"
    assert "redirect" in run.error_message
    assert elsewhere.received == []


def test_an_endless_redirect_ends(call: Call, server: Server) -> None:
    server.otherwise = Answer(302, headers={"Location": "/again"})
    assert "requests.exceptions.TooManyRedirects" in call(url=server.url).error_message
    assert len(server.received) <= 2 * 7


def test_an_answer_that_cannot_be_recorded_fails_the_step(call: Call, server: Server) -> None:
    """Each quote is two characters of JSON."""
    server.otherwise = Answer(200, b'"' * 700_000)
    run = call(url=server.url)
    assert run.status == "failed"
    assert "django_hookflow.exceptions.NotSerializable" in run.error_message


def test_a_server_that_cannot_be_reached(call: Call, server: Server) -> None:
    """QStash reports a status of 0 then."""
    run = call(url="http://127.0.0.1:9/")
    assert run.status == "failed"
    assert "requests.exceptions.ConnectionError: GET http://127.0.0.1:9/ failed" in run.error_message


def test_an_answer_that_is_too_large_is_refused_unread(call: Call, server: Server) -> None:
    server.otherwise = Answer(200, b"x" * (1024 * 1024 + 1))
    run = call(url=server.url)
    assert run.status == "failed"
    assert "more than 1,048,576 bytes" in run.error_message


def test_a_server_that_hangs_is_given_up_and_tried_again(ordinary: Call, hookflow: Hookflow, server: Server) -> None:
    server.answers.append(Hang())
    run = ordinary(url=server.url, timeout=0.3)
    assert run.status == "completed"
    [failed] = [event for event in hookflow.events(run.run_id) if event.type == "step.failed"]
    assert failed.facts["error"] == "requests.exceptions.ReadTimeout"
    server.let_go.set()
