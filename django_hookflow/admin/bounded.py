"""Statements that may have much to read: they end after so many seconds, and the page says so instead of its rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import OperationalError, connections, transaction
from psycopg.errors import QueryCanceled

if TYPE_CHECKING:
    from collections.abc import Iterator


class TookTooLong(Exception):
    """The statement was given up."""


@contextmanager
def at_most(seconds: float, using: str) -> Iterator[Any]:
    """A cursor whose statements are given up after ``seconds``. Raises TookTooLong when one is; nothing else is lost."""
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            (before,) = cursor.fetchone()
            limit = "SELECT set_config('statement_timeout', %s, true)"
            cursor.execute(limit, [f"{round(seconds * 1000)}ms"])
            yield cursor
            cursor.execute(limit, [before])  # a surrounding transaction goes on without it
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TookTooLong from error
        raise
