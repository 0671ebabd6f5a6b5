"""A cursor for what is to be believed: the login's own settings decide nothing about what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from django_hookflow.events.database import alias, cursor
from django_hookflow.exceptions import HookFlowException
from django_hookflow.installed.catalog import find_log


class NoLog(HookFlowException):
    """There are no tables of the log where this login looks, or what has their names are none."""

    def __init__(self) -> None:
        super().__init__(
            "no schema on the search_path of this login has the tables django_hookflow_event and "
            "django_hookflow_head: run manage.py migrate, or see what manage.py check --database default reports"
        )


@contextmanager
def reading() -> Iterator[Any]:
    """A cursor for which a name means PostgreSQL's own object, or else the log's, and which no policy keeps rows from.

    Nothing that is done with it stays. Raises NoLog.
    """
    with transaction.atomic(using=alias()), cursor() as c:
        look_past_search_path(c)
        yield c
        transaction.set_rollback(True, using=alias())


def look_past_search_path(c: Any) -> None:
    """The same for a cursor in a transaction, to its end."""
    if find_log(c) is None:
        raise NoLog
    c.execute("SELECT set_config('row_security', 'off', true)")
