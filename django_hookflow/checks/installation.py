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
                f"The database {alias()!r} is {connection.display_name}; the event log needs PostgreSQL.",
                "Use django.db.backends.postgresql, or a database router that names a PostgreSQL database for the "
                "app django_hookflow.",
            )
        )
    if not settings.USE_TZ:
        found.append(
            error(
                "E009",
                "USE_TZ is False: times in the log would be read without a time zone, and be ambiguous when clocks change.",
                "Set USE_TZ = True. PostgreSQL keeps every moment with its zone in any case, so no data changes; what "
                "changes in your code is described under Time zones in Django's documentation.",
            )
        )
    if not connection.settings_dict["AUTOCOMMIT"]:
        found.append(
            error(
                "E011",
                f"The database {alias()!r} has AUTOCOMMIT: False: nothing of the log would be committed.",
                "Remove it, and use transaction.atomic() where statements belong together; or give the log an entry of "
                "its own in DATABASES, with a database router.",
            )
        )
    if alias() != DEFAULT_DB_ALIAS:
        found.append(
            warning(
                "W007",
                f"The log is in the database {alias()!r}, which shares no transaction with any other: step.atomic "
                "is exactly once only for writes to it, and run.cancel() and the like do not wait for a commit elsewhere.",
                "Route django_hookflow to the database that workflows write to. If that is not possible: trigger() inside a "
                "transaction of another database starts the run when that has committed, not if it is rolled back, and "
                "not if the process dies between the two; steps that write elsewhere are run at least once. Then silence "
                "this check.",
            )
        )
    return found
