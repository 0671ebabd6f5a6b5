"""What the delivery tests share: a recording HTTP server, announced runs, and a database clock that can be moved."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from django.db import connection

from django_hookflow.delivery.messages import Message
from django_hookflow.runtime.trigger import uuid7
from tests.delivery.servers import Server, running_server

WORKFLOW = "tests.delivery.order"


class Announce(Protocol):
    def __call__(
        self, run_id: str = ..., *, delay: float = ..., grace: float | None = ..., workflow_id: str = ...
    ) -> Message: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def nowhere() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def announce() -> Announce:
    """Starts a run as trigger() does and returns the message that its outbox row stands for.

    With a ``delay`` its first step is a sleep of so many seconds, and the message is for the turn after it.
    """

    def start(
        run_id: str = "order-1", *, delay: float = 0.0, grace: float | None = None, workflow_id: str = WORKFLOW
    ) -> Message:
        run_uid = uuid7()
        with connection.cursor() as c:
            c.execute(
                "SELECT seq FROM hookflow_start(%s, %s, %s, '{}', '{\"data\":{}}', NULL, make_interval(secs => %s), '7 days')",
                [run_uid, run_id, workflow_id, grace],
            )
            (seq,) = c.fetchone()
            if delay:
                facts = json.dumps({"kind": "sleep", "seconds": delay, "attempt": 1})
                c.execute(
                    "SELECT seq FROM hookflow_append(%s, %s, '{step.suspended}', '{nap}', ARRAY[%s::json], '{NULL}', NULL,"
                    " true, false, make_interval(secs => %s), '7 days')",
                    [run_uid, seq, facts, grace],
                )
                (seq,) = c.fetchone()
        return Message(workflow_id, run_id, seq, run_uid, 1, delay)

    return start


@pytest.fixture
def advance(transactional_db: None) -> Iterator[Callable[[float], None]]:
    """Moves the database's clock forward by so many seconds, all in all."""

    def replace(now: str) -> None:
        with connection.cursor() as c:
            c.execute(
                "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
                f"AS $$ SELECT {now} $$"
            )

    yield lambda seconds: replace(f"clock_timestamp() + make_interval(secs => {seconds!r})")
    replace("clock_timestamp()")  # to the letter as it was installed


def outbox_row(message: Message) -> dict[str, float | int | None]:
    """The row of a message: seconds until it is sent and due (None: it may begin at once), attempts."""
    with connection.cursor() as c:
        c.execute(
            "SELECT extract(epoch FROM send_at - hookflow_now())::float8, extract(epoch FROM due_at - hookflow_now())::float8,"
            " attempts FROM django_hookflow_outbox WHERE run_uid = %s",
            [message.run_uid],
        )
        return dict(zip(("send_in", "due_in", "attempts"), c.fetchone(), strict=True))
