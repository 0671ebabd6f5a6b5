"""What must be so before a database is asked anything: time zones, and which database has the log, and how."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.db import DEFAULT_DB_ALIAS, connections

from django_hookflow.checks.messages import error, warning
from django_hookflow.conf import is_stateless
from django_hookflow.events.database import alias


def check_installation(**kwargs: Any) -> list[CheckMessage]:
    """E006, E009, E011, W007: moments are moments, and the log's database will do."""
    if is_stateless():
        return []
    found: list[CheckMessage] = []
    connection = connections[alias()]
    if connection.vendor != "postgresql":
        found.append(
            error(
                "E006",
                f"The database {alias()!r} is {connection.display_name}, but the event log needs PostgreSQL.",
                "Use django.db.backends.postgresql, or route the app django_hookflow to a PostgreSQL database with a "
                "database router.",
            )
        )
    if not settings.USE_TZ:
        found.append(
            error(
                "E009",
                "USE_TZ is False, so times from the log would have no time zone and would be ambiguous when the "
                "clocks change.",
                "Set USE_TZ = True. PostgreSQL already stores time zones, so no data changes. For what changes in "
                'your code, see "Time zones" in the Django documentation.',
            )
        )
    if not connection.settings_dict["AUTOCOMMIT"]:
        found.append(
            error(
                "E011",
                f"The database {alias()!r} has AUTOCOMMIT set to False, so nothing in the log would be committed.",
                "Remove AUTOCOMMIT and use transaction.atomic() where you need transactions, or give the log its own "
                "entry in DATABASES and a database router.",
            )
        )
    if alias() != DEFAULT_DB_ALIAS:
        found.append(
            warning(
                "W007",
                f"The log is in the database {alias()!r}, and transactions do not span databases: step.atomic is "
                "exactly-once only for writes to that database, and run.cancel() and similar calls do not wait for a "
                "commit on another one.",
                "Route django_hookflow to the database that workflows write to. If that is not possible, silence this "
                "check and note two things: trigger() inside a transaction on another database starts the run only "
                "after that transaction commits, and not at all if the process dies in between; steps that write to "
                "another database run at least once.",
            )
        )
    return found
