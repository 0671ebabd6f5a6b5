"""The server that holds the log, and whether the database checks look at it at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage
from django.db import connections

from django_hookflow.checks.messages import error
from django_hookflow.conf import is_stateless
from django_hookflow.events.database import alias, cursor

if TYPE_CHECKING:
    from collections.abc import Collection

OLDEST_SERVER = 14


def check_server(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E020, E029: the server is new enough, and keeps texts as they are."""
    if not is_looked_at(databases):
        return []
    with cursor() as c:
        c.execute("SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')")
        version, encoding = c.fetchone()
    found = [describe_old_server(version // 10_000)] if version // 10_000 < OLDEST_SERVER else []
    return found if encoding == "UTF8" else [*found, describe_encoding(encoding)]


def describe_encoding(encoding: str) -> CheckMessage:
    """E029: what is wrong with an encoding that cannot hold every text, or of which nothing is known."""
    return error(
        "E029",
        f"The database has the encoding {encoding}, but the log stores text in any language and needs UTF8.",
        "Create a database with ENCODING 'UTF8' and move the data with pg_dump, or use a database router to put the "
        "log in a separate database.",
    )


def describe_old_server(version: int) -> CheckMessage:
    """E020: what is wrong with a server of this major version."""
    return error(
        "E020",
        f"The database server is PostgreSQL {version}, but the event log needs {OLDEST_SERVER} or newer.",
        "Upgrade the server.",
    )


def is_looked_at(databases: Collection[str] | None) -> bool:
    """Whether the log's database is among those to be checked. None is in the stateless mode;
    E006 is about one that is not PostgreSQL."""
    if is_stateless():
        return False
    name = alias()
    return name in (databases or ()) and connections[name].vendor == "postgresql"
