"""Whether a view is the one of its file.

PostgreSQL keeps no text of a view and writes what it keeps in another way from one major version to the next. Where the
text is not that of the file, the file's own query is made a temporary view, in a savepoint, and both are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from django.db import DatabaseError

from django_hookflow.installed.definitions import Relation
from django_hookflow.installed.deviations import Deviation

_MAY_MAKE_TEMPORARY = """
    SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY')
       AND pg_catalog.current_setting('transaction_read_only') = 'off'
"""


def compare(cursor: Any, found: Relation, wanted: Relation, file: str) -> Iterator[Deviation]:
    what = f"view {wanted.name}"
    if found.options != wanted.options:
        yield Deviation("differs", what, "different options", file)
        return
    if found.query == wanted.query:
        return
    cursor.execute(_MAY_MAKE_TEMPORARY)
    if not cursor.fetchone()[0]:
        yield Deviation("uncompared", what, file=file)
    elif found.query != _rewritten(cursor, wanted.query):
        yield Deviation("differs", what, "different query", file)


def _rewritten(cursor: Any, query: str) -> str:
    """The query as this server writes it, "" if it cannot be made a view: what it reads is not there, or is another."""
    cursor.execute("SAVEPOINT hookflow_view")
    try:
        cursor.execute(f"CREATE TEMPORARY VIEW hookflow_compared AS {query}")
        cursor.execute("SELECT pg_catalog.pg_get_viewdef('pg_temp.hookflow_compared'::regclass::oid)")
        return str(cursor.fetchone()[0])
    except (DatabaseError, psycopg.DatabaseError):
        return ""
    finally:
        cursor.execute("ROLLBACK TO SAVEPOINT hookflow_view")
