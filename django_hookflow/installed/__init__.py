"""What this package installs in a database, and what of it is no longer so.

``django_hookflow/sql/installed/`` has one file for each function, view and table of a migrated database, written by
``python -m migrations_sql --installed``: the text that makes a function or a view, and the triggers of each relation
(:mod:`.shipped` reads them). :func:`compare` holds the catalog against these files (:mod:`.catalog` reads it) and
answers one :class:`Deviation` for each object that differs, is missing, is not ours, or stands in front of one of ours.
System checks and the doctor both put these into words (``django_hookflow.checks.objects``).

What must stay true: whoever can change the log's objects can also put functions, operators and types of their own
where this looks. So it runs with a search path of its own in which nothing precedes ``pg_catalog``, calls functions by
their qualified names, and compares only values whose types have an operator in ``pg_catalog`` that takes exactly them.
It needs no privilege on the log: catalogs are open to every login.
"""

from django_hookflow.installed.comparing import compare
from django_hookflow.installed.deviations import Deviation, Kind
from django_hookflow.installed.released import Applied, applied_migrations, last_migration
from django_hookflow.installed.shipped import function_names

__all__ = ["Applied", "Deviation", "Kind", "applied_migrations", "compare", "function_names", "last_migration"]
