"""A server in QStash's place, and a URL at which nothing listens."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.delivery.servers import Answer, Server, running_server
from tests.subscriptions import no_subscriptions

CURRENT, NEXT = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"


def keys(current: str = CURRENT, following: str = NEXT) -> Answer:
    """As ``GET /v2/keys`` is documented."""
    return Answer(body=json.dumps({"current": current, "next": following}).encode())


@pytest.fixture(autouse=True)
def nobody_subscribes() -> Iterator[None]:
    with no_subscriptions():
        yield


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def qstash(server: Server, settings: Any) -> Server:
    """QStash, as far as the doctor asks it, with the keys that are in the settings."""
    server.otherwise = keys()
    settings.QSTASH_URL = server.url
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
    return server


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
