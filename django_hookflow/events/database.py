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
