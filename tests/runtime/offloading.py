"""QStash as far as offloaded calls go: it takes requests, makes each once, and reports the answer, when a test says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from django.test import Client

from django_hookflow import Workflow
from django_hookflow.delivery.signature import sign
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.delivery.servers import Request, Server, running_server

if TYPE_CHECKING:
    from pytest_django import Settings

ORIGIN = "http://testserver"
FORWARDED = "Upstash-Forward-"


class Offloader:
    """``server`` is what the app publishes to."""

    def __init__(self, hookflow: Hookflow, server: Server) -> None:
        self.hookflow = hookflow
        self.server = server
        self._reports: dict[str, dict[str, Any] | None] = {}

    @property
    def published(self) -> list[Request]:
        """The requests that were handed over, in order, repetitions included."""
        return [each for each in self.server.received if "Upstash-Callback" in each.headers]

    def run(self, workflow: Workflow, data: dict[str, Any]) -> WorkflowRun:
        """Triggers a run and has it delivered, and its calls made and reported, until it ends."""
        return self.drive(workflow.trigger(data))

    def drive(self, run_id: str, turns: int = 20) -> WorkflowRun:
        for _ in range(turns):
            self.report_all()
            run = WorkflowRun.objects.get(run_id=run_id)
            if run.completed_at:
                return run
            self.deliver(run_id)
        raise AssertionError(f"run {run_id} has not ended: {self.hookflow.history(run_id)}")

    def deliver(self, run_id: str) -> str:
        """Delivers what the run has announced, when it is due; what that came to."""
        announced = self.hookflow.announced(run_id)
        assert announced is not None
        self.hookflow._advance_to(announced)
        return self.hookflow.deliver(run_id).answer

    def report_all(self) -> None:
        """Makes each request that has not been made, and reports each answer until the app has taken it."""
        for published in self.published:
            name = published.headers["Upstash-Deduplication-Id"]
            if name not in self._reports:
                self._reports[name] = make(published)
            said = self._reports[name]
            if said is not None:
                response = report(published, said)
                assert response.status_code in (200, 503), response.content
                if response.status_code == 200:
                    self._reports[name] = None


@contextmanager
def running_offloader(hookflow: Hookflow, settings: Settings) -> Iterator[Offloader]:
    with running_server() as server:
        settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
        settings.DJANGO_HOOKFLOW_DOMAIN = ORIGIN
        settings.QSTASH_URL = server.url
        yield Offloader(hookflow, server)


def make(published: Request) -> dict[str, Any]:
    """Makes the request; the report on it."""
    headers = {name.removeprefix(FORWARDED): each for name, each in published.headers.items() if FORWARDED in name}
    if "Content-Type" in published.headers:
        headers["Content-Type"] = published.headers["Content-Type"]
    url = published.path.removeprefix("/v2/publish/")
    method = published.headers["Upstash-Method"]
    try:
        response = requests.request(
            method, url, headers=headers, data=published.body, allow_redirects=False, timeout=10
        )
    except requests.ConnectionError:
        return answered(0)
    return answered(response.status_code, response.content, {name: [each] for name, each in response.headers.items()})


def answered(status: int, body: bytes = b"", header: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A report as QStash makes it."""
    encoded = base64.b64encode(body).decode()
    return {"status": status, "header": header or {}, "body": encoded, "maxRetries": 0, "sourceMessageId": "m", **more}


def report(published: Request, said: Any, *, signed_for: str | None = None, **headers: str) -> Any:
    """Reports to the callback URL of a request, signed for that one or for another; the app's response."""
    url = published.headers["Upstash-Callback"]
    return report_to(url, said, signed_for=signed_for, **headers)


def report_to(url: str, said: Any, *, signed_for: str | None = None, **headers: str) -> Any:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    signature = sign(raw, url if signed_for is None else signed_for)
    client = Client(enforce_csrf_checks=True)
    sent = {"Upstash-Signature": signature, **headers}
    return client.post(urlsplit(url).path, raw, content_type="application/json", headers=sent)
