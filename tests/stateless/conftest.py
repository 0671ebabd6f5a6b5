"""The stateless mode between a QStash that takes what is published and deliveries that a test makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from django_hookflow.delivery.signature import sign
from tests.delivery.servers import Request, Server, running_server

PUBLISH = "/v2/publish/"


@dataclass
class Post:
    """What QStash has taken, and the hand that delivers it."""

    server: Server

    @property
    def published(self) -> list[Request]:
        return [request for request in self.server.received if request.path.startswith(PUBLISH)]

    def body(self, number: int = -1) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.published[number].body)
        return content

    def deliver(self, number: int = -1) -> Any:
        """The answer to a message, by default the one published last."""
        message = self.published[number]
        return deliver(message.body, message.path.removeprefix(PUBLISH))

    def drive(self) -> list[str]:
        """Delivers until nothing new is published: the answers."""
        answers = []
        while True:
            before = len(self.published)
            response = self.deliver()
            answers.append(answer_of(response))
            if len(self.published) == before:
                return answers


def answer_of(response: Any) -> str:
    """The status in an answer; of a run that has come to a bad end, what the error says of it."""
    content = response.json()
    if response.status_code != 489:
        return str(content.get("status") or content["error"])
    assert response.headers["Upstash-NonRetryable-Error"] == "true"
    found = re.search(r"' has (failed|diverged): ", content["error"])
    return found[1] if found else str(content["error"])


def deliver(body: bytes, url: str) -> Any:
    headers = {"Upstash-Signature": sign(body, url)}
    path = urlsplit(url).path
    return Client(raise_request_exception=False).post(path, body, content_type="application/json", headers=headers)


@pytest.fixture
def post(settings: Any) -> Iterator[Post]:
    with running_server() as server:
        settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
        settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
        settings.QSTASH_URL = server.url
        yield Post(server)
