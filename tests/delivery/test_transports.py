"""What every transport does alike: one suite, run over all three."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest
import requests
from django.db import close_old_connections, connections
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from django_hookflow import workflow
from django_hookflow.delivery.messages import Message, parse_body
from django_hookflow.delivery.relay import Relay
from django_hookflow.delivery.signature import sign
from django_hookflow.delivery.transports import TRANSPORTS, SendFailed, Transport, get_transport
from django_hookflow.exceptions import NotConfigured
from django_hookflow.models import OutboxMessage, WorkflowRun
from django_hookflow.runtime.context import WorkflowContext
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.trigger import uuid7
from tests.delivery.servers import Answer, Server
from tests.waiting import wait_until


class FarEnd(Protocol):
    """Where a transport sends to, and how a test makes it behave."""

    transport: Transport

    def received(self) -> list[tuple[str, str, int]]: ...
    def refuse(self, retry_after: int | None) -> None: ...
    def be_gone(self) -> None: ...


class HttpEnd:
    """QStash, or the app's webhook."""

    def __init__(self, name: str, server: Server, settings: Settings, nowhere: str) -> None:
        self._server, self._settings, self._nowhere = server, settings, nowhere
        self._setting = "QSTASH_URL" if name == "qstash" else "DJANGO_HOOKFLOW_DOMAIN"
        settings.DJANGO_HOOKFLOW_DOMAIN = "https://my-app.com"
        setattr(settings, self._setting, server.url)
        self.transport = get_transport(name)

    def received(self) -> list[tuple[str, str, int]]:
        bodies = [parse_body(request.body) for request in self._server.received]
        return [(body.workflow_id, body.run_id, body.seq) for body in bodies]

    def refuse(self, retry_after: int | None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._server.otherwise = Answer(503, b'{"error":"not now"}', headers)

    def be_gone(self) -> None:
        setattr(self._settings, self._setting, self._nowhere)


@dataclass(frozen=True)
class Result:
    answer: str
    retry_after: float | None = None


class InlineEnd:
    """What runs a turn in the relay's process."""

    def __init__(self) -> None:
        self.transport = get_transport("inline", receive=self._receive)
        self._received: list[tuple[str, str, int]] = []
        self._refusal: Result | Exception | None = None

    def _receive(
        self, kind: str, workflow_id: str, run_id: str, seq: int, *, delivery: dict[str, object], claim: object = None
    ) -> Result:
        assert delivery["transport"] == "inline"
        self._received.append((workflow_id, run_id, seq))
        if isinstance(self._refusal, Exception):
            raise self._refusal
        return self._refusal or Result("completed")

    def received(self) -> list[tuple[str, str, int]]:
        return self._received

    def refuse(self, retry_after: int | None) -> None:
        self._refusal = OSError("not now") if retry_after is None else Result("lost", retry_after)

    def be_gone(self) -> None:
        self._refusal = ConnectionRefusedError("gone")


@pytest.fixture(params=TRANSPORTS)
def far_end(request: pytest.FixtureRequest, server: Server, settings: Settings, nowhere: str) -> FarEnd:
    return InlineEnd() if request.param == "inline" else HttpEnd(request.param, server, settings, nowhere)


def make_message(run_id: str = "order-1", attempt: int = 1) -> Message:
    return Message("shop.process", run_id, 3, uuid7(), attempt)


def test_it_goes_by_its_name(far_end: FarEnd) -> None:
    assert far_end.transport.name in TRANSPORTS
    assert far_end.transport.publishes_on_commit == (far_end.transport.name == "qstash")
    assert (far_end.transport.max_delay > 0) == far_end.transport.publishes_on_commit


def test_a_message_arrives_once_with_what_it_says(far_end: FarEnd) -> None:
    far_end.transport.check_configured()
    far_end.transport.send(make_message("commande-é"))

    assert far_end.received() == [("shop.process", "commande-é", 3)]


def test_the_same_message_sent_again_arrives_again(far_end: FarEnd) -> None:
    message = make_message()
    for attempt in (1, 2, 2):
        far_end.transport.send(Message("shop.process", "order-1", 3, message.run_uid, attempt))

    assert far_end.received() == [("shop.process", "order-1", 3)] * 3


def test_a_failure_is_a_send_failed_and_says_nothing_of_when(far_end: FarEnd) -> None:
    far_end.refuse(None)

    with pytest.raises(SendFailed, match="not now") as failure:
        far_end.transport.send(make_message())

    assert failure.value.retry_after is None


def test_a_failure_that_says_when_passes_it_on(far_end: FarEnd) -> None:
    far_end.refuse(30)

    with pytest.raises(SendFailed) as failure:
        far_end.transport.send(make_message())

    assert failure.value.retry_after == 30
    assert len(far_end.received()) == 1


def test_a_far_end_that_is_gone_is_a_send_failed(far_end: FarEnd) -> None:
    far_end.be_gone()

    with pytest.raises(SendFailed):
        far_end.transport.send(make_message())


def test_many_threads_send_at_once(far_end: FarEnd) -> None:
    def send(first: int) -> None:
        for i in range(first, first + 5):
            far_end.transport.send(make_message(f"order-{i}"))

    threads = [threading.Thread(target=send, args=(first,)) for first in range(0, 40, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {run_id for _, run_id, _ in far_end.received()} == {f"order-{i}" for i in range(40)}
    assert len(far_end.received()) == 40


@workflow(workflow_id="tests.delivery.name")
def name_somebody(ctx: WorkflowContext) -> str:
    return ctx.step.wait_for_signal("name") if ctx.data.get("wait") else "Ada"


@workflow(workflow_id="tests.delivery.greet")
def greet(ctx: WorkflowContext) -> str:
    name = ctx.step.child("name", name_somebody, ctx.data)
    ctx.step.sleep("pause", seconds=0.2)
    return f"hello {name}"


class ForwardingQStash:
    """Stands where QStash stands: what was published is signed and delivered."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._delivered = 0

    def deliver(self) -> None:
        for request in self._server.received[self._delivered :]:
            self._delivered += 1
            url = request.path.removeprefix("/v2/publish/")
            headers = {"Upstash-Signature": sign(request.body, url), "Upstash-Message-Id": "msg_1"}
            requests.post(url, data=request.body, headers=headers, timeout=10)


@pytest.fixture
def quiet_connections() -> Iterator[None]:
    yield
    close_old_connections()
    connections["default"].close()


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_run_gets_all_its_turns(
    transactional_db: None,
    live_server: LiveServer,
    settings: Settings,
    server: Server,
    quiet_connections: None,
    name: str,
) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = name
    settings.DJANGO_HOOKFLOW_DOMAIN = live_server.url
    settings.DJANGO_HOOKFLOW_OVERDUE_SECONDS = 0.5
    settings.QSTASH_URL = server.url
    qstash = ForwardingQStash(server)
    run_id = greet.trigger({})

    def is_completed() -> bool:
        Relay(name, receive).run_once()
        qstash.deliver()
        return bool(WorkflowRun.objects.get(run_id=run_id).status == "completed")

    wait_until(is_completed, "the run is completed")
    assert WorkflowRun.objects.get(run_id=run_id).result == "hello Ada"
    assert all(json.loads(request.body)["run_id"].startswith(run_id) for request in server.received)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_the_end_of_a_child_that_nobody_acted_on(
    transactional_db: None,
    live_server: LiveServer,
    settings: Settings,
    server: Server,
    quiet_connections: None,
    name: str,
) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = name
    settings.DJANGO_HOOKFLOW_DOMAIN = live_server.url
    settings.QSTASH_URL = server.url
    qstash = ForwardingQStash(server)
    run = WorkflowRun.objects.get(run_id=greet.trigger({"wait": True}))

    def deliver() -> None:
        Relay(name, receive).run_once()
        qstash.deliver()

    def waits() -> bool:
        deliver()
        return bool(WorkflowRun.objects.filter(parent=run, waits__kind="signal").exists())

    wait_until(waits, "the child waits")
    child = run.children.get()
    with connections["default"].cursor() as c:  # as a client would that knows nothing of parents
        c.execute(
            "SELECT hookflow_operate(%s, 'cancel', NULL, '{}', '{\"reason\": \"\"}', 'dba', NULL, NULL)", [child.pk]
        )
        c.execute("UPDATE django_hookflow_outbox SET send_at = now() WHERE run_uid = %s AND kind = 'ended'", [child.pk])

    def is_failed() -> bool:
        deliver()
        run.refresh_from_db()
        return run.status == "failed"

    wait_until(is_failed, "the run has failed with its child")
    if name == "qstash":
        assert any(json.loads(request.body).get("kind") == "ended" for request in server.received)
    assert not OutboxMessage.objects.exists()


def test_an_unknown_transport_is_named(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "pigeon"

    with pytest.raises(NotConfigured, match="DJANGO_HOOKFLOW_TRANSPORT is not configured: 'pigeon' is none of qstash"):
        get_transport()


def test_inline_outside_a_relay_says_who_runs_turns() -> None:
    with pytest.raises(SendFailed, match="hookflow_relay --transport inline"):
        get_transport("inline").send(make_message())
