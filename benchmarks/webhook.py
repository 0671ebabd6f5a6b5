"""Turns by a web process over real HTTP, against the same turns called directly; and what of it is whose.

The first two keep their connection to the database, the others open one for each turn, as Django does by default
(``CONN_MAX_AGE = 0``): that, and what a session of PostgreSQL learns anew, is more than all the rest.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import project
from benchmarks.report import Figure
from benchmarks.rounds import alternate, median_rate, median_ratio
from benchmarks.serving import KEY

STEPS = 10


def measure_webhook(conninfo: str, *, runs: int, rounds: int) -> list[Figure]:
    from django.conf import settings
    from django.test import override_settings

    with ExitStack() as stack:
        stack.enter_context(override_settings(QSTASH_CURRENT_SIGNING_KEY=KEY))
        ports = {age: stack.enter_context(web_process(conninfo, age)) for age in ("None", "0")}
        measures = {
            "direct": functools.partial(timed, runs, direct_turn),
            "http": functools.partial(timed, runs, http_turn(ports["None"])),
            "direct, 0": functools.partial(timed, runs, turn_on_a_connection_of_its_own),
            "http, 0": functools.partial(timed, runs, http_turn(ports["0"])),
            "verification": functools.partial(verifications, runs * 10),
        }
        rates = alternate(measures, rounds)
        assert settings.QSTASH_CURRENT_SIGNING_KEY == KEY
    text = f"turns of {STEPS} steps"
    return [
        Figure(f"{text}, called directly", median_rate(rates, "direct"), "turns/s"),
        Figure(
            f"{text}, by the webhook over HTTP",
            median_rate(rates, "http"),
            "turns/s",
            ratio=median_ratio(rates, "http", "direct"),
            of="direct",
            at_least=0.67,
        ),
        Figure(f"{text}, called directly, a connection each", median_rate(rates, "direct, 0"), "turns/s"),
        Figure(
            f"{text}, by the webhook over HTTP, CONN_MAX_AGE = 0",
            median_rate(rates, "http, 0"),
            "turns/s",
            ratio=median_ratio(rates, "http, 0", "direct, 0"),
            of="direct",
            at_least=0.67,
        ),
        Figure("a new connection costs a turn", cost(rates, "direct, 0", "direct"), "ms"),
        Figure("the way by HTTP costs a turn", cost(rates, "http", "direct"), "ms"),
        Figure("of which verifying the signature", 1000 / median_rate(rates, "verification"), "ms"),
    ]


def cost(rates: dict[str, list[float]], dear: str, cheap: str) -> float:
    return 1000 / median_rate(rates, dear) - 1000 / median_rate(rates, cheap)


def timed(runs: int, turn: Callable[[str], Any]) -> float:
    """Turns a second; their runs are triggered before."""
    run_ids = [project.trivial_workflow().trigger({"steps": STEPS}) for _ in range(runs)]
    began = time.perf_counter()
    for run_id in run_ids:
        turn(run_id)
    return runs / (time.perf_counter() - began)


def direct_turn(run_id: str) -> None:
    from django_hookflow.runtime.turn import run_turn

    answer = run_turn(project.trivial_workflow().workflow_id, run_id, 1, delivery={}).answer
    assert answer == "completed", answer


def turn_on_a_connection_of_its_own(run_id: str) -> None:
    from django.db import connection

    direct_turn(run_id)
    connection.close()


def http_turn(port: int) -> Callable[[str], None]:
    """Sends the message as a relay does."""
    from django.test import override_settings

    from django_hookflow.delivery.messages import Message
    from django_hookflow.delivery.transports import get_transport
    from django_hookflow.runtime.trigger import uuid7

    transport = get_transport("http")

    def turn(run_id: str) -> None:
        with override_settings(DJANGO_HOOKFLOW_DOMAIN=f"http://127.0.0.1:{port}"):
            transport.send(Message(project.trivial_workflow().workflow_id, run_id, 1, uuid7(), 1))

    return turn


def verifications(calls: int) -> float:
    from django_hookflow.delivery.signature import sign, verify

    body, url = (
        b'{"workflow_id":"shop.process","run_id":"order-1","seq":1}',
        "http://127.0.0.1/hookflow/workflow/shop.process/",
    )
    token = sign(body, url)
    began = time.perf_counter()
    for _ in range(calls):
        verify(token, body, {url})
    return calls / (time.perf_counter() - began)


@contextmanager
def web_process(conninfo: str, max_age: str) -> Iterator[int]:
    """The port it listens on."""
    command = [sys.executable, "-m", "benchmarks.serving", conninfo, max_age]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
