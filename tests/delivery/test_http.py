"""The http transport: what the relay sends is what QStash would send."""

from __future__ import annotations

import uuid
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest
from qstash import Receiver

from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports import SendFailed, Undeliverable
from django_hookflow.delivery.transports.http import HttpTransport
from django_hookflow.exceptions import NotConfigured
from tests.delivery.servers import Answer, Server
from tests.delivery.test_signature import CURRENT, NEXT

if TYPE_CHECKING:
    from pytest_django import Settings

UID = uuid.UUID("01936c0e-7c00-7000-8000-000000000001")
MESSAGE = Message("shop.process", "order-1", 3, UID, 2)


@pytest.fixture(autouse=True)
def app(settings: Settings, server: Server) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = server.url


def test_the_delivery_is_signed_and_looks_like_one_of_qstash(server: Server) -> None:
    HttpTransport().send(MESSAGE)

    (request,) = server.received
    assert request.path == "/hookflow/workflow/shop.process/"
    assert request.body == MESSAGE.body()
    assert request.headers["User-Agent"] == "Upstash-QStash"
    assert request.headers["Upstash-Message-Id"] == f"msg_{UID}-3"
    assert request.headers["Upstash-Retried"] == "1"
    assert "Authorization" not in request.headers
    Receiver(CURRENT, NEXT).verify(
        signature=request.headers["Upstash-Signature"], body=request.body.decode(), url=MESSAGE.url()
    )


def test_no_proxy_of_the_environment_stands_between(
    server: Server, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    monkeypatch.setenv("no_proxy", "")

    HttpTransport().send(MESSAGE)

    assert len(server.received) == 1


def test_489_is_put_off_for_a_day(server: Server) -> None:
    server.answers.append(Answer(489, b'{"error":"no such run"}', {"Upstash-NonRetryable-Error": "true"}))

    with pytest.raises(Undeliverable, match=r"returned 489.*no such run") as failure:
        HttpTransport().send(MESSAGE)

    assert failure.value.retry_after == 86_400


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("in ten minutes, as a date", 540, 601), ("9999999", 86_400, 86_400), ("0", 0, 0)],
)
def test_retry_after_is_honoured_in_both_forms_up_to_a_day(server: Server, value: str, low: float, high: float) -> None:
    asked = value if value.isdigit() else formatdate(time() + 600, usegmt=True)
    server.answers.append(Answer(503, b'{"error":"later"}', {"Retry-After": asked}))

    with pytest.raises(SendFailed, match="returned 503") as failure:
        HttpTransport().send(MESSAGE)

    assert failure.value.retry_after is not None
    assert low <= failure.value.retry_after <= high


@pytest.mark.parametrize("value", ["soon", "-5", "Mon, 99 Foo 2026", "1e9", "٣"])
def test_a_retry_after_that_is_none_leaves_the_wait_to_the_relay(server: Server, value: str) -> None:
    server.answers.append(Answer(503, headers={"Retry-After": value.encode().decode("latin-1")}))

    with pytest.raises(SendFailed) as failure:
        HttpTransport().send(MESSAGE)

    assert failure.value.retry_after is None


def test_a_redirect_is_not_followed_but_explained(server: Server) -> None:
    server.answers.append(Answer(301, headers={"Location": server.url.replace("http", "https")}))

    with pytest.raises(SendFailed, match=r"was redirected to 'https://.*set DJANGO_HOOKFLOW_DOMAIN"):
        HttpTransport().send(MESSAGE)

    assert len(server.received) == 1


@pytest.mark.parametrize("name", ["QSTASH_CURRENT_SIGNING_KEY", "DJANGO_HOOKFLOW_DOMAIN"])
def test_a_missing_setting_is_named(settings: Settings, name: str) -> None:
    setattr(settings, name, None)

    with pytest.raises(NotConfigured, match=f"{name} is not configured"):
        HttpTransport().check_configured()
