"""What one examination knows throughout: whether it may use the network, and answers that several areas need, asked once."""

from __future__ import annotations

from functools import cached_property

from django.core.checks import CheckMessage

from django_hookflow.checks.objects import check_objects
from django_hookflow.doctor import qstash
from django_hookflow.events.database import alias


class Visit:
    def __init__(self, *, offline: bool) -> None:
        self.offline = offline

    @cached_property
    def qstash(self) -> qstash.QStashAnswer:
        """QStash's answer to the question for its keys. Never raises for what the network or QStash does."""
        return qstash.ask_for_keys()

    @cached_property
    def objects(self) -> list[CheckMessage]:
        """What the check of the installed objects finds in the log's database."""
        return check_objects(databases=[alias()])
