"""The relay runs the turn itself: workers without a web hop, and tests."""

from __future__ import annotations

from uuid import UUID

from django_hookflow.delivery.messages import Message
from django_hookflow.delivery.transports.base import Receive, SendFailed


class InlineTransport:
    name = "inline"
    publishes_on_commit = False
    max_delay = 0.0

    def __init__(self, receive: Receive | None = None) -> None:
        self._receive = receive

    def check_configured(self) -> None:
        """Nothing to configure: what is needed is a relay, and a relay brings its own ``receive``."""

    def withdraw(self, run_uid: UUID) -> None:
        """Nothing is under way: a relay sends what the outbox holds, and a run that has ended has nothing there."""

    def send(self, message: Message) -> None:
        if self._receive is None:
            raise SendFailed(
                "with the inline transport, turns run in the relay: start manage.py hookflow_relay --transport inline"
            )
        delivery: dict[str, object] = {"transport": self.name, "attempt": message.attempt}
        try:
            result = self._receive(
                message.kind, message.workflow_id, message.run_id, message.seq, delivery=delivery, claim=message.claim
            )
        except Exception as error:
            raise SendFailed(f"the turn of {message} raised {type(error).__name__}: {error}") from error
        if result.retry_after is not None:
            raise SendFailed(f"the turn of {message} returned {result.answer!r}", retry_after=result.retry_after)
