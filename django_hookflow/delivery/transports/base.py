"""The seam between the outbox and the wire, and what the transports that speak HTTP share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from django_hookflow import wrappers
from django_hookflow.delivery.messages import Message
from django_hookflow.exceptions import HookFlowException
from django_hookflow.exchange import Session
from django_hookflow.wrappers import Work

if TYPE_CHECKING:
    from django_hookflow.events.log import Claim

#: When a message that its receiver refused for good is tried again.
DAY_SECONDS = 86_400.0


class SendFailed(HookFlowException):
    """A message was not sent, or arrived and a new delivery is wanted. ``retry_after``: seconds, None if not known."""

    def __init__(self, problem: str, *, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class Unanswered(SendFailed):
    """There was no answer; the error of :mod:`django_hookflow.exchange` says why, and discloses nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")


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


def hand_over(transport: Transport, message: Message) -> None:
    """Sends a message, with what the project has put around that: raises SendFailed, and what is raised there."""
    work = Work(
        "send", message.workflow_id, message.run_id, message.kind, None, attempt=message.attempt, message=message
    )
    wrappers.around(work, partial(transport.send, message))()


class Outcome(Protocol):
    """What came of a message; ``retry_after`` is seconds, not None exactly when a new delivery is wanted."""

    @property
    def answer(self) -> str: ...

    @property
    def retry_after(self) -> float | None: ...


class Receive(Protocol):
    """Does what a message asks for, in this thread: ``runtime.receiving.receive``, which nothing in this package imports."""

    def __call__(
        self,
        kind: str,
        workflow_id: str,
        run_id: str,
        seq: int,
        *,
        delivery: dict[str, object],
        claim: Claim | None = None,
    ) -> Outcome: ...


class ThreadSession(threading.local):
    """One session per thread, made anew in a forked child and after an exchange that was cut off."""

    def __init__(self, make: Callable[[], Session]) -> None:
        self._make = make
        self._pid = 0
        self._session: Session | None = None

    def get(self) -> Session:
        # a child must not share its parent's sockets
        if self._session is None or self._session.is_cut or self._pid != os.getpid():
            self._session, self._pid = self._make(), os.getpid()
        return self._session
