"""The seam between the outbox and the wire, and what the transports that speak HTTP share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import requests
from urllib3.exceptions import HTTPError

from django_hookflow.delivery.messages import Message
from django_hookflow.exceptions import HookFlowException

#: When a message that its receiver refused for good is tried again.
DAY_SECONDS = 86_400.0
#: What is read of an answer: enough to use the connection again after any answer of ours, or to quote an error.
ANSWER_BYTES = 65_536


class SendFailed(HookFlowException):
    """A message was not sent, or arrived and a new delivery is wanted. ``retry_after``: seconds, None if not known."""

    def __init__(self, problem: str, *, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class Undeliverable(SendFailed):
    """The receiver said that the message can never succeed; it is tried again once a day, in case a deploy mends it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, retry_after=DAY_SECONDS)


class Transport(Protocol):
    """Sends messages. Used from several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def publishes_on_commit(self) -> bool:
        """Whether the process that announces a turn sends its message itself, right after the commit."""

    @property
    def max_delay(self) -> float:
        """The seconds for which it can hold a message back by itself; one due later is sent by a relay when due."""

    def check_configured(self) -> None:
        """Raises NotConfigured, naming the setting, if nothing could be sent."""

    def send(self, message: Message) -> None:
        """Hands the message over. Raises SendFailed if that did not work; never called inside a transaction."""

    def withdraw(self, run_uid: UUID) -> None:
        """Calls back what was handed over for a run and is not delivered yet, as far as that can be done."""


class Outcome(Protocol):
    """What came of a message; ``retry_after`` is seconds, not None exactly when a new delivery is wanted."""

    @property
    def answer(self) -> str: ...

    @property
    def retry_after(self) -> float | None: ...


class Receive(Protocol):
    """Does what a message asks for, in this thread: ``runtime.receiving.receive``, which nothing in this package imports."""

    def __call__(
        self, kind: str, workflow_id: str, run_id: str, seq: int, *, delivery: dict[str, object]
    ) -> Outcome: ...


class ThreadSession(threading.local):
    """One ``requests`` session per thread, since sessions promise no thread safety, made anew in a forked child."""

    def __init__(self, make: Callable[[], requests.Session]) -> None:
        self._make = make
        self._pid = 0
        self._session: requests.Session | None = None

    def get(self) -> requests.Session:
        if self._session is None or self._pid != os.getpid():  # a child must not share its parent's sockets
            self._session, self._pid = self._make(), os.getpid()
        return self._session


def post(session: requests.Session, url: str, **arguments: Any) -> tuple[requests.Response, str]:
    """POSTs without following redirects; returns the response and the beginning of its text. Raises SendFailed."""
    try:
        with session.post(url, allow_redirects=False, stream=True, **arguments) as response:
            text = response.raw.read(ANSWER_BYTES, decode_content=True).decode("utf-8", "replace")
    except (requests.RequestException, HTTPError) as error:
        raise SendFailed(f"POST {url}: {type(error).__name__}: {error}") from error
    return response, text
