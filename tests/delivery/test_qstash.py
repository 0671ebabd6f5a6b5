"""The qstash transport against an HTTP server that behaves as QStash is documented to."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from django.conf import settings as django_settings
from qstash import QStash

from django_hookflow import workflow
from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports import SendFailed
from django_hookflow.delivery.transports.qstash import QStashTransport, base_url
from django_hookflow.exceptions import NotConfigured
from django_hookflow.models import WorkflowRun
from tests.delivery.servers import Answer, Hang, Server
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django import Settings

TOKEN = django_settings.QSTASH_TOKEN
UID = uuid.UUID("01936c0e-7c00-7000-8000-000000000001")
DESTINATION = "https://my-app.com/hookflow/workflow/shop.process/"


@pytest.fixture(autouse=True)
def qstash(settings: Settings, server: Server) -> None:
    settings.QSTASH_URL = server.url
    settings.DJANGO_HOOKFLOW_DOMAIN = "https://my-app.com"


def make_message(delay: float = 0.0, attempt: int = 1) -> Message:
    return Message("shop.process", "order-1", 3, UID, attempt, delay)


def test_the_request_is_what_qstash_documents(server: Server) -> None:
    QStashTransport().send(make_message(delay=59.2, attempt=2))

    (request,) = server.received
    assert request.path == f"/v2/publish/{DESTINATION}"
    assert request.body == b'{"workflow_id":"shop.process","run_id":"order-1","seq":3}'
    told = {name: value for name, value in request.headers.items() if name.startswith(("Upstash", "Auth", "Content-T"))}
    assert told == {
        "Authorization": f"Bearer {TOKEN}",
        "Content-Type": "application/json",
        "Upstash-Method": "POST",
        "Upstash-Delay": "60s",
        "Upstash-Retries": "3",
        "Upstash-Retry-Delay": "min(60000, 2000 * pow(5, retried))",
        "Upstash-Deduplication-Id": f"{UID}-3-2",
        "Upstash-Label": f"hookflow-{UID}",
    }


def test_the_official_client_sends_the_same_request(server: Server) -> None:
    message = make_message(delay=60)
    QStashTransport().send(message)
    QStash(TOKEN, retry=False, base_url=server.url).message.publish(
        url=message.url(),
        body=message.body(),
        content_type="application/json",
        method="POST",
        retries=3,
        retry_delay="min(60000, 2000 * pow(5, retried))",
        delay=60,
        deduplication_id=message.deduplication_id,
        label=f"hookflow-{UID}",
    )

    ours, theirs = server.received
    of_the_client = {"User-Agent", "Accept", "Accept-Encoding", "Connection", "Host"}
    assert ours.path == theirs.path
    assert ours.body == theirs.body
    assert {n: v for n, v in ours.headers.items() if n not in of_the_client} == {
        n: v for n, v in theirs.headers.items() if n not in of_the_client
    }


def test_a_message_due_now_has_no_delay_header(server: Server) -> None:
    QStashTransport().send(make_message())

    assert "Upstash-Delay" not in server.received[0].headers


@pytest.mark.parametrize(
    "tail", ["/", "/v2", "/v2/", "//v2//", "/v2 ", "/v2/ /", "/v2/publish", "/v2/publish/", "/v2//publish", "//", " "]
)
def test_what_is_pasted_along_with_the_url_is_dropped(settings: Settings, server: Server, tail: str) -> None:
    settings.QSTASH_URL = server.url + tail

    QStashTransport().send(make_message())

    assert base_url() == server.url
    assert server.received[0].path == f"/v2/publish/{DESTINATION}"


def test_credentials_in_netrc_do_not_take_the_place_of_the_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    QStashTransport().send(make_message())

    assert server.received[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again_with_the_same_deduplication_id(server: Server, status: int) -> None:
    server.answers.append(Answer(status))

    QStashTransport().send(make_message())

    first, second = server.received
    assert first.headers["Upstash-Deduplication-Id"] == second.headers["Upstash-Deduplication-Id"]


def test_a_short_retry_after_is_waited_for(server: Server) -> None:
    server.answers.append(Answer(429, headers={"Retry-After": "1"}))
    started = time.monotonic()

    QStashTransport().send(make_message())

    assert time.monotonic() - started >= 1
    assert len(server.received) == 2


def test_a_long_retry_after_is_left_to_the_relay_at_once(server: Server) -> None:
    server.answers.append(Answer(429, b'{"error":"Exceeded daily rate limit"}', {"Retry-After": "3600"}))
    started = time.monotonic()

    with pytest.raises(SendFailed, match="QStash answered 429: Exceeded daily rate limit; the plan") as failure:
        QStashTransport().send(make_message())

    assert failure.value.retry_after == 3600
    assert time.monotonic() - started < 1
    assert len(server.received) == 1


def test_a_lasting_failure_is_given_up_after_three_requests(server: Server) -> None:
    server.otherwise = Answer(500, b"oops")

    with pytest.raises(SendFailed, match="QStash answered 500: oops"):
        QStashTransport().send(make_message())

    assert len(server.received) == 3


def test_a_wrong_token_is_told_once_and_never_shown(server: Server) -> None:
    server.answers.append(Answer(401, f'{{"error":"invalid token {TOKEN}"}}'.encode()))

    with pytest.raises(SendFailed, match="QStash answered 401: invalid token …; check QSTASH_TOKEN") as failure:
        QStashTransport().send(make_message())

    assert TOKEN not in str(failure.value)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, b'{"error":"unable to resolve host"}', "unable to resolve host; check that DJANGO_HOOKFLOW_DOMAIN"),
        (412, b'{"error":"maxDelay"}', "maxDelay; a limit of your QStash plan was reached"),
        (404, b"[" * 10_000, r"\[\[\["),
        (418, b"\xff\x00", "418"),
        (301, b"", "301"),
    ],
)
def test_any_other_refusal_is_told_in_its_words(server: Server, status: int, body: bytes, told: str) -> None:
    server.answers.append(Answer(status, body, {"Location": "/elsewhere"}))

    with pytest.raises(SendFailed, match=told) as failure:
        QStashTransport().send(make_message())

    assert len(str(failure.value)) < 700
    assert len(server.received) == 1


def test_a_hanging_qstash_holds_the_caller_for_seconds_only(server: Server) -> None:
    server.answers.extend([Hang(), Hang(), Hang()])
    started = time.monotonic()

    with pytest.raises(SendFailed, match="Timeout"):
        QStashTransport().send(make_message())

    assert time.monotonic() - started < 5
    assert len(server.received) == 1


def test_an_unreachable_qstash_holds_the_caller_for_seconds_only(settings: Settings, nowhere: str) -> None:
    settings.QSTASH_URL = nowhere
    started = time.monotonic()

    with pytest.raises(SendFailed, match="Connection"):
        QStashTransport().send(make_message())

    assert time.monotonic() - started < 3


@pytest.mark.parametrize("url", ["qstash.upstash.io", "http://", "http://[", "ftp://x"])
def test_a_url_that_is_none_is_a_failure_to_send(settings: Settings, url: str) -> None:
    settings.QSTASH_URL = url

    with pytest.raises(SendFailed, match="POST"):
        QStashTransport().send(make_message())


@pytest.mark.parametrize(
    "url", ["", "https://qstash.upstash.io/", "HTTPS://qstash-us-east-1.Upstash.io:443/v2/publish"]
)
def test_nothing_is_sent_to_the_real_one_from_tests(settings: Settings, url: str) -> None:
    settings.QSTASH_URL = url

    with pytest.raises(SendFailed, match="tests do not send messages to QStash"):
        QStashTransport().send(make_message())
    with pytest.raises(SendFailed, match="tests do not send messages to QStash"):
        QStashTransport().withdraw(UID)


@pytest.mark.parametrize("name", ["QSTASH_TOKEN", "DJANGO_HOOKFLOW_DOMAIN"])
def test_a_missing_setting_is_named(settings: Settings, name: str) -> None:
    setattr(settings, name, None)

    with pytest.raises(NotConfigured, match=f"{name} is not configured"):
        QStashTransport().check_configured()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_use_its_parents_connection(server: Server) -> None:
    from django_hookflow.delivery.transports.qstash import _sessions

    parents = _sessions.get()
    child = os.fork()
    if child == 0:
        os._exit(0 if _sessions.get() is not parents else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert _sessions.get() is parents


def test_each_thread_has_a_session_of_its_own(server: Server) -> None:
    threads = [threading.Thread(target=QStashTransport().send, args=(make_message(attempt=i),)) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    wait_until(lambda: len(server.received) == 8, "eight messages")
    assert {r.headers["Upstash-Deduplication-Id"] for r in server.received} == {f"{UID}-3-{i}" for i in range(1, 9)}


def test_a_cancelled_run_is_withdrawn_by_its_own_label_alone(server: Server) -> None:
    QStashTransport().withdraw(UID)

    (request,) = server.received
    assert (request.method, request.path) == ("DELETE", f"/v2/messages?label=hookflow-{UID}")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.django_db(transaction=True)
def test_cancelling_a_run_withdraws_its_messages_and_does_without_an_answer(server: Server, settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
    sleeping = workflow(workflow_id="tests.delivery.sleeping")(lambda ctx: ctx.step.sleep("nap", seconds=60))
    server.answers.extend([Answer(), Answer(401, b"{}")])
    run = WorkflowRun.objects.get(run_id=sleeping.trigger())

    assert run.cancel(actor="anna")

    published, withdrawn = server.received
    assert (published.method, withdrawn.method) == ("POST", "DELETE")
    assert withdrawn.path == f"/v2/messages?label=hookflow-{run.run_uid}"
    assert run.status == "cancelled"
