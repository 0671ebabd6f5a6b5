"""The database that holds the log: the one Django's routers name for writing events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import ProgrammingError, connections, router
from psycopg import errors

from django_hookflow.exceptions import PermissionDenied
from django_hookflow.models import WorkflowEvent


def alias() -> str:
    """The alias of the log's database."""
    return router.db_for_write(WorkflowEvent)


def cursor() -> AbstractContextManager[Any]:
    """A cursor on the log's database, as a context manager."""
    return connections[alias()].cursor()


@contextmanager
def owners_only(what: str) -> Iterator[None]:
    """Raises PermissionDenied where this role may not do ``what``, which is the owner's."""
    try:
        yield
    except ProgrammingError as error:
        if isinstance(error.__cause__, errors.InsufficientPrivilege):
            raise PermissionDenied(what, "hookflow_owner") from error
        raise


class _Standing(threading.local):
    def __init__(self) -> None:
        self.cursors: dict[str, Any] = {}


_standing = _Standing()


def standing_cursor() -> Any:
    """A cursor kept for as long as this thread keeps its connection, for the one statement that is run for every step.

    Django registers type loaders anew with each cursor, which takes a tenth of the time of a step.
    """
    using = alias()
    connection = connections[using]
    if connection.queries_logged:  # whoever looks at queries is to see these, too
        return connection.cursor()
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    cursor = _standing.cursors.get(using)
    if cursor is None or cursor.connection is not connection.connection or cursor.closed:
        cursor = _standing.cursors[using] = connection.cursor()
    return cursor


def mend_connection() -> bool:
    """Drops this thread's connection if it is broken, and says whether the next statement opens another.

    Inside a transaction it is left as it is: what has been written there is lost with it, or stands with it.
    """
    connection = connections[alias()]
    if connection.in_atomic_block:
        return False
    connection.close_if_unusable_or_obsolete()
    return connection.connection is None
