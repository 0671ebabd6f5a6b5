"""The releases 0.0.x, whose tables have the names of ours: found before a migration runs into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage

from django_hookflow.checks.messages import error
from django_hookflow.checks.server import is_looked_at
from django_hookflow.events.database import cursor

if TYPE_CHECKING:
    from collections.abc import Collection

#: Ours have one of these columns each. Only the schema in which migrate would make its tables is looked at.
_EARLIER_TABLES = """
    SELECT relname FROM pg_class AS t
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p')
      AND relname IN ('django_hookflow_workflowrun', 'django_hookflow_stepexecution', 'django_hookflow_deadletterentry')
      AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname IN ('seq', 'error_type'))
    ORDER BY relname
"""


def check_predecessor(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E024: no table of a release 0.0.x stands where a migration is going to make ours."""
    if not is_looked_at(databases):
        return []
    with cursor() as c:
        c.execute(_EARLIER_TABLES)
        tables = ", ".join(table for (table,) in c.fetchall())
    if not tables:
        return []
    return [
        error(
            "E024",
            f"The database has tables of django-hookflow 0.0.x, which cannot be upgraded in place: {tables}.",
            "When its runs have ended and you have kept what you need of them: install 0.0.x once more and call "
            "manage.py migrate django_hookflow zero, which drops these tables; then install this release and migrate. "
            "Or give this release a database of its own with a database router.",
        )
    ]
