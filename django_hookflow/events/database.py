"""The database that holds the log: the one Django's routers name for writing events."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.db import connections, router

from django_hookflow.models import WorkflowEvent


def alias() -> str:
    """The alias of the log's database."""
    return router.db_for_write(WorkflowEvent)


def cursor() -> AbstractContextManager[Any]:
    """A cursor on the log's database, as a context manager."""
    return connections[alias()].cursor()


def mend_connection() -> bool:
    """Drops this thread's connection if it is broken, and says whether the next statement opens another.

    Inside a transaction it is left as it is: what has been written there is lost with it, or stands with it.
    """
    connection = connections[alias()]
    if connection.in_atomic_block:
        return False
    connection.close_if_unusable_or_obsolete()
    return connection.connection is None
