"""The page of a run of ten thousand events, server-side: queries, story, waterfall and template, as a browser asks for it."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from benchmarks.report import Figure

if TYPE_CHECKING:
    from uuid import UUID

    from django.test import Client

ROUNDS = 7
#: Events of one call to the log, which holds each batch in one transaction.
BATCH = 500


def measure_run_page(events: int) -> list[Figure]:
    """The median of a few requests for the newest part, one in the middle, and what a living page asks for again."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser(f"reader-{uuid4()}"))
    page = f"/admin/django_hookflow/workflowrun/{make_run(events)}/change/"
    whole, weight = measure(client, page, {})
    middle, _ = measure(client, page, {"seq": events // 2, "steps": events // 2})
    past, _ = measure(client, page, {"as_of": events // 2})
    update, _ = measure(client, page, {"fragment": 1})
    name = f"page of a run of {events:,} events"
    return [
        Figure(name, whole * 1000, "ms", at_most=1000),
        Figure(f"{name}: its weight", weight / 1000, "kB", at_most=1000),
        Figure(f"{name}: at its middle", middle * 1000, "ms", at_most=1000),
        Figure(f"{name}: as of its middle", past * 1000, "ms", at_most=1000),
        Figure(f"{name}: an update", update * 1000, "ms", at_most=1000),
    ]


def make_run(events: int) -> UUID:
    """A run of the length, whose steps return a kilobyte each."""
    from django_hookflow.events import log

    run_uid = log.start(
        uuid4(),
        f"pages-{uuid4()}",
        "benchmarks.pages",
        "{}",
        '{"data":{}}',
        actor=None,
        sending=log.LEFT_TO_RELAY,
    ).run_uid
    log.append(run_uid, None, [log.NewEvent("turn.started", facts='{"worker": "w"}')])
    facts, payload = '{"kind": "run", "attempt": 1, "took": 0.01}', json.dumps({"result": {"text": "x" * 1000}})
    for first in range(2, events, BATCH):
        steps = range(first, min(first + BATCH, events))
        log.append(
            run_uid, None, [log.NewEvent("step.completed", f"step-{number}", facts, payload) for number in steps]
        )
    return run_uid


def measure(client: Client, page: str, query: dict[str, int]) -> tuple[float, int]:
    """Seconds of one request, the median, and how many bytes the page has."""
    seconds, weight = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        response = client.get(page, query)
        seconds.append(time.perf_counter() - started)
        assert response.status_code == 200, response.status_code
        weight = len(response.content)
    return statistics.median(seconds), weight
