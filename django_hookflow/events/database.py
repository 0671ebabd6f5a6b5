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


def mend_connection() -> None:
    """Drops this thread's connection if user code has left it broken; the next statement opens another.

    Inside a transaction, which only a test or a caller of ours can have begun, it is left as it is.
    """
    connection = connections[alias()]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
