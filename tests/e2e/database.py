"""Databases of the tests' own, looked at with SQL alone."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Database:
    """A database that can be queried, copied and dropped."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    @classmethod
    def create(cls, server: str, template: Database | None = None) -> Database:
        """A new one on the server that ``server``, a URL, names; a copy of ``template`` if there is one."""
        name = f"e2e_{uuid.uuid4().hex}"
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template.name))
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(statement)
        return cls(make_conninfo(server, dbname=name))

    @property
    def name(self) -> str:
        return str(conninfo_to_dict(self.conninfo)["dbname"])

    def drop(self, server: str) -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """A connection each time: nothing of the test's own stays open in the database it looks at."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            return connection.execute(query.encode(), arguments).fetchall()

    def value(self, query: str, *arguments: Any) -> Any:
        ((value,),) = self.rows(query, *arguments)
        return value

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(statement.encode())

    def settings(self) -> str:
        """The entry of Django's DATABASES, as JSON."""
        parts: dict[str, Any] = dict(conninfo_to_dict(self.conninfo))
        keys = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
        entry = {key: str(parts.pop(part, None) or "") for key, part in keys.items()}
        return json.dumps({"ENGINE": "django.db.backends.postgresql", **entry, "OPTIONS": parts})
