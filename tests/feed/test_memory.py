"""What is read of large results stays small in memory: eight times as many take no more of it."""

from __future__ import annotations

import base64
import os
import random
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from tests.admin.conftest import DEAD_LETTERS, RUNS
from tests.admin.history import add, fail, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

pytestmark = pytest.mark.django_db

SIZE = 200_000
FEW, MANY = 25, 200


def text_of(kind: str) -> str:
    """One that PostgreSQL stores as it is, or one that it stores in a hundredth."""
    return base64.b64encode(random.Random(1).randbytes(SIZE * 3 // 4)).decode() if kind == "random" else "x" * SIZE


@pytest.fixture(params=["random", "repeated"], scope="module")
def result(request: pytest.FixtureRequest) -> str:
    return text_of(request.param)


def make(run_id: str, count: int, result: str) -> UUID:
    run = start(run_id=run_id)
    for number in range(count):
        add(run, "step.completed", f"step-{number}", kind="run", attempt=1, took=0.1, result=result)
    fail(run)
    return run


def peak_of(work: Callable[[], object]) -> int:
    work()  # what is loaded once is loaded now
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def get(client: Client, address: str) -> Callable[[], int]:
    def work() -> int:
        response: Any = client.get(address)
        assert response.status_code == 200
        parts: Iterable[bytes] = response if response.streaming else [response.content]
        return sum(map(len, parts))

    return work


def call(command: str, *arguments: str) -> Callable[[], None]:
    def work() -> None:
        with Path(os.devnull).open("w") as nowhere:
            call_command(command, *arguments, stdout=nowhere)

    return work


def test_downloads_pages_and_commands_take_no_more_memory_for_more_large_results(result: str) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    peaks: dict[str, list[int]] = {}
    for run_id, count in (("few", FEW), ("many", MANY)):
        run = make(run_id, count, result)
        works = {
            "download": get(client, f"{RUNS}{run}/events.json"),
            "download as of": get(client, f"{RUNS}{run}/events.json?as_of={count}"),
            "page": get(client, f"{RUNS}{run}/change/?integrity=1"),
            "page as of": get(client, f"{RUNS}{run}/change/?as_of={count}"),
            "list": get(client, RUNS),
            "dead letters": get(client, DEAD_LETTERS),
            "rewind": get(client, f"{RUNS}{run}/operate/rewind/"),
            "export of a run": call("hookflow_export", "--run", run_id),
            "export": call("hookflow_export"),
            "timeline": call("hookflow_timeline", run_id),
            "verify": call("hookflow_verify"),
            "rebuild": call("hookflow_rebuild", "--check"),
        }
        for name, work in works.items():
            peaks.setdefault(name, []).append(peak_of(work))
    wrong = {name: few_many for name, few_many in peaks.items() if few_many[1] > 2 * few_many[0] + 20 * SIZE}
    assert wrong == {}
