"""The flush after a test that commits, at the price of what the test has left behind.

Django's own empties every table and makes content types and permissions anew: 50 ms, most of them for tables that nobody
has filled, and after it each session reads the catalog again. With a thousand such tests that is a minute. Here a flush
empties the tables that have rows. Content types and permissions stay, unless they are no longer what Django's flush last
made of them: then Django's flush runs again.

``tests/log/test_user_suite.py`` runs Django's on the package's tables, in a process where this is not at work.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test import TransactionTestCase

#: What ``post_migrate`` makes.
KEPT = ("django_content_type", "auth_permission")


class Flush:
    """In the place of ``TransactionTestCase._fixture_teardown``."""

    def __init__(self, djangos: Any) -> None:
        self._djangos = djangos
        self._kept: list[Any] = []

    def __call__(self, case: Any) -> None:
        ordinary = case.databases == {"default"} and case.available_apps is None and not case.serialized_rollback
        if ordinary and self._kept and self._kept == read_kept():
            empty(find_filled())
        else:
            self._djangos(case)
            self._kept = read_kept() if ordinary else []


def install() -> None:
    """For the tests of this process."""
    flush = Flush(TransactionTestCase._fixture_teardown)  # type: ignore[attr-defined]
    TransactionTestCase._fixture_teardown = lambda case: flush(case)  # type: ignore[attr-defined]


def read_kept() -> list[Any]:
    """The rows themselves: a test that leaves a permission behind is noticed."""
    rows = (f"SELECT array_agg(kept::text ORDER BY id) FROM {name} kept" for name in KEPT)
    with connection.cursor() as c:
        c.execute(" UNION ALL ".join(rows))
        return list(c.fetchall())


def find_filled() -> list[str]:
    names = set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - {*KEPT}
    quote = connection.ops.quote_name
    asked = (f"SELECT '{name}' WHERE EXISTS (SELECT FROM {quote(name)})" for name in sorted(names))
    with connection.cursor() as c:
        c.execute(" UNION ALL ".join(asked))
        return [name for (name,) in c.fetchall()]


def empty(names: list[str]) -> None:
    """CASCADE, for tables that refer to these: each is empty, or among them too."""
    if names:
        with connection.cursor() as c:
            c.execute(f"TRUNCATE {', '.join(map(connection.ops.quote_name, names))} CASCADE")
