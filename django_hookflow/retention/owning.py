"""What only the owner of the log may call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django_hookflow.events.database import cursor, owners_only


@contextmanager
def explained_to_others(what: str) -> Iterator[Any]:
    """A cursor; raises PermissionDenied where this role may not do ``what`` with it."""
    with owners_only(what), cursor() as c:
        yield c


def call_as_owner(what: str, statement: str, parameters: Sequence[object]) -> Any:
    """The row that a function answers. Raises PermissionDenied."""
    with explained_to_others(what) as c:
        c.execute(statement, parameters)
        return c.fetchone()
