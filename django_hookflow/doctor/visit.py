"""What one examination knows throughout: whether it may use the network, and what QStash answered, asked once."""

from __future__ import annotations

from functools import cached_property

from django_hookflow.doctor import qstash


class Visit:
    def __init__(self, *, offline: bool) -> None:
        self.offline = offline

    @cached_property
    def qstash(self) -> qstash.Answer:
        """QStash's answer to the question for its keys. Never raises for what the network or QStash does."""
        return qstash.ask_for_keys()
