"""The releases 0.0.x, whose tables have the names of ours: found before a migration runs into them.

Registered, and listed, in ``django_hookflow.checks``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from django_hookflow.events.database import alias

if TYPE_CHECKING:
    from collections.abc import Collection

#: Ours have one of these columns each. Only the schema in which migrate would make its tables is looked at.
_EARLIER_TABLES = """
    SELECT relname FROM pg_class AS t
    WHERE relnamespace = to_regnamespace(quote_ident(current_schema())) AND relkind IN ('r', 'p')
      AND relname IN ('django_hookflow_workflowrun', 'django_hookflow_stepexecution', 'django_hookflow_deadletterentry')
      AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = t.oid AND attname IN ('run_uid', 'seq'))
    ORDER BY relname
"""


def check_predecessor(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E024: no table of a release 0.0.x stands where a migration is going to make ours."""
    name = alias()
    if name not in (databases or ()) or connections[name].vendor != "postgresql":
        return []
    with connections[name].cursor() as cursor:
        cursor.execute(_EARLIER_TABLES)
        tables = ", ".join(table for (table,) in cursor.fetchall())
    if not tables:
        return []
    return [
        checks.Error(
            f"The database has tables of django-hookflow 0.0.x, which cannot be upgraded in place: {tables}.",
            hint="When its runs have ended and you have kept what you need of them: install 0.0.x once more and call "
            "manage.py migrate django_hookflow zero, which drops these tables; then install this release and migrate. "
            "Or give this release a database of its own with a database router.",
            id="django_hookflow.E024",
        )
    ]
