"""QStash in a random schedule: it takes what is published, and reports on calls when the schedule says so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.test import override_settings

from django_hookflow.models import WorkflowEvent, WorkflowRun
from tests.delivery.servers import Answer, Request, Server
from tests.runtime.offloading import ORIGIN, answered, report


class Offloads:
    """``server`` is what the app publishes to, and what calls are made of that are not offloaded."""

    def __init__(self, server: Server) -> None:
        self._server = server
        server.otherwise = Answer(200, b'"made in the turn"', {"Content-Type": "application/json"})
        self._settings: override_settings | None = None
        #: What was reported of each request, by its deduplication id: QStash made it once, so it has one answer.
        self._answers: dict[str, dict[str, Any]] = {}
        self._done: set[str] = set()
        self._lost: set[str] = set()

    @property
    def url(self) -> str:
        return self._server.url

    def begin(self, transport: str) -> None:
        """A schedule, with this transport."""
        self._server.received.clear()
        for kept in (self._answers, self._done, self._lost):
            kept.clear()
        self._settings = override_settings(
            DJANGO_HOOKFLOW_TRANSPORT=transport, DJANGO_HOOKFLOW_DOMAIN=ORIGIN, QSTASH_URL=self.url
        )
        self._settings.enable()

    def end(self) -> None:
        if self._settings is not None:
            self._settings.disable()
            self._settings = None

    def choose(self, number: int) -> str | None:
        """The key of a request that was handed over and whose report is not lost, the latest ones first."""
        keys = [key for key in reversed(self._requests()) if key not in self._lost]
        return keys[number % len(keys)] if keys else None

    def lose(self, number: int) -> None:
        """No report will come of one."""
        if key := self.choose(number):
            self._lost.add(key)

    def outstanding(self) -> list[str]:
        """The keys of the requests on which a report is still to be made."""
        return [key for key in self._requests() if key not in self._lost | self._done]

    def report(self, key: str, status: int) -> str:
        """Reports that a request was answered with this status, or with what it was answered before; what came of that."""
        published = self._requests()[key]
        said = self._answers.setdefault(key, answered(status, json.dumps(_callback_key(published)).encode()))
        response = report(published, said)
        assert response.status_code in (200, 503), response.content
        if response.status_code == 503:
            return "refused"
        self._done.add(key)
        return str(response.json()["status"])

    def problems(self, runs: Iterable[WorkflowRun]) -> list[str]:
        """In what calls were not made as they should be: all attempts under one key, each result that of its own request."""
        found = []
        asked: dict[tuple[str, str], set[str]] = {}
        for published in self._requests().values():
            run_uid = published.headers["Upstash-Callback"].split("/")[-3]
            step = run_uid, published.path.rpartition("/")[2]
            asked.setdefault(step, set()).add(published.headers["Upstash-Forward-Idempotency-Key"])
        found += [f"{step} was asked for under {len(keys)} keys" for step, keys in asked.items() if len(keys) > 1]
        for run in runs:
            waited_for: dict[str | None, str] = {}
            for event in WorkflowEvent.objects.filter(workflow_run=run).order_by("seq"):
                if event.type == "step.suspended" and event.facts["kind"] == "callback":
                    waited_for[event.step_id] = event.facts["key"]
                if event.type == "step.completed" and event.facts["kind"] == "call":
                    expected = waited_for.get(event.step_id, "made in the turn")
                    if event.payload["result"] != {"status_code": 200, "data": expected}:
                        found.append(f"{run.run_id} {event.step_id} came to {event.payload}, not {expected}")
        return found

    def _requests(self) -> dict[str, Request]:
        """What was handed over in this schedule, by deduplication id, in order."""
        published = [each for each in self._server.received if "Upstash-Callback" in each.headers]
        return {each.headers["Upstash-Deduplication-Id"]: each for each in published}


def _callback_key(published: Request) -> str:
    return published.headers["Upstash-Callback"].rstrip("/").rpartition("/")[2]
