"""QStash and the app's webhook trickle, or answer what no server should: the time is kept and nothing is disclosed."""

from __future__ import annotations

import json
import traceback
import uuid
from collections.abc import Callable

import pytest
from pytest_django import Settings

from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports import SendFailed, http, qstash
from tests.delivery.servers import Answer, Server
from tests.runtime.slow_servers import trickling

UID = uuid.UUID("01936c0e-7c00-7000-8000-000000000001")
MESSAGE = Message("shop.process", "order-1", 3, UID, 1)
SECRET = "s3cr3tv4lue"


def publish() -> None:
    qstash.QStashTransport().send(MESSAGE)


def withdraw() -> None:
    qstash.QStashTransport().withdraw(UID)


def deliver() -> None:
    http.HttpTransport().send(MESSAGE)


ALL = pytest.mark.parametrize("ask", [publish, withdraw, deliver])


@pytest.fixture
def address(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setattr(qstash, "SECONDS", 0.4)
    monkeypatch.setattr(http, "LAST_STEP_SECONDS", 0.4 - settings.DJANGO_HOOKFLOW_TURN_BUDGET)

    def set_address(url: str) -> None:
        settings.QSTASH_URL = settings.DJANGO_HOOKFLOW_DOMAIN = url

    return set_address


@pytest.fixture(autouse=True)
def turn_budget(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_TURN_BUDGET = 20


@ALL
def test_headers_that_trickle_are_cut_at_the_deadline(
    ask: Callable[[], None], address: Callable[[str], None], server: Server
) -> None:
    with trickling(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n") as slow:
        address(slow.url)
        with pytest.raises(SendFailed, match=r"^ReadTimeout: (POST|DELETE) http\S+ was not over after the 0.4 s"):
            ask()
        assert slow.gone.wait(5), "the connection is closed, not left to trickle on"
    address(server.url)
    ask()  # with another session than the one that was cut off


@ALL
@pytest.mark.parametrize("body", [b"Content-Length: 100000\r\n\r\n", b"\r\n"])
def test_once_there_is_a_status_it_counts_whatever_becomes_of_the_body(
    ask: Callable[[], None], address: Callable[[str], None], body: bytes
) -> None:
    with trickling(b"HTTP/1.1 200 OK\r\n" + body, b"x") as slow:
        address(slow.url)
        ask()
        assert slow.gone.wait(5)
    with trickling(b"HTTP/1.1 404 No\r\n" + body, b"x") as slow:
        address(slow.url)
        with pytest.raises(SendFailed, match="(answered|returned) 404"):
            ask()


@ALL
@pytest.mark.parametrize(
    "answer",
    [
        f"{SECRET} {SECRET}\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{'X: ' + SECRET}\r\n".encode() + f"X: {SECRET}\r\n".encode() * 200 + b"\r\n",
    ],
)
def test_an_answer_that_is_none_is_a_failure_to_send_that_discloses_nothing(
    ask: Callable[[], None], address: Callable[[str], None], answer: bytes
) -> None:
    with trickling(answer) as odd:
        address(odd.url)
        with pytest.raises(SendFailed) as failure:
            ask()
    assert SECRET not in "".join(traceback.format_exception(failure.value))


@pytest.mark.parametrize("ask", [publish, withdraw])
@pytest.mark.parametrize("token", [f"{SECRET}\r\nX: y", f"{SECRET}\u20ac"])
def test_a_token_that_cannot_be_a_header_is_not_quoted(
    ask: Callable[[], None], server: Server, settings: Settings, token: str
) -> None:
    settings.QSTASH_URL, settings.DJANGO_HOOKFLOW_DOMAIN, settings.QSTASH_TOKEN = server.url, server.url, token
    with pytest.raises(SendFailed) as failure:
        ask()
    assert SECRET not in "".join(traceback.format_exception(failure.value))


def test_a_token_pasted_with_blanks_is_sent_without_and_not_shown(server: Server, settings: Settings) -> None:
    settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, f" {SECRET}\n"
    server.answers.append(Answer(401, json.dumps({"error": f"invalid {SECRET}"}).encode()))
    with pytest.raises(SendFailed, match="invalid …"):
        withdraw()
    assert server.received[0].headers["Authorization"] == f"Bearer {SECRET}"


def test_the_query_of_a_redirect_is_not_quoted(server: Server, settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url
    server.answers.append(Answer(302, headers={"Location": f"/login?token={SECRET}"}))
    with pytest.raises(SendFailed, match=r"was redirected to '\S+/login'") as failure:
        deliver()
    assert SECRET not in str(failure.value)
