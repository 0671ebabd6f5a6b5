"""What must be so before a database is asked anything: the guards are managed, and the log's database is PostgreSQL."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.db import connections

from django_hookflow.checks.messages import error
from django_hookflow.conf import is_stateless
from django_hookflow.events.database import alias


def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """E005, E006: the guards are managed, and the log's database is PostgreSQL."""
    found: list[CheckMessage] = []
    if not apps.is_installed("pgtrigger"):
        found.append(
            error(
                "E005",
                '"pgtrigger" is not in INSTALLED_APPS: the guards of the event log would not be managed.',
                'Add "pgtrigger" to INSTALLED_APPS, before "django_hookflow".',
            )
        )
    if is_stateless():
        return found
    connection = connections[alias()]
    if connection.vendor != "postgresql":
        found.append(
            error(
                "E006",
                f"The database {alias()!r} is {connection.display_name}; the event log needs PostgreSQL.",
                "Use django.db.backends.postgresql, or a database router that names a PostgreSQL database for the "
                "app django_hookflow.",
            )
        )
    return found
