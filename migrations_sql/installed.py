"""What the migrations install, object by object, from the catalog of a database that they have just made."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from migrations_sql.collect import collected_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_hookflow.installed.definitions import Relation

ROLES = Path(__file__).with_name("roles.sql")
#: Django's own.
NOT_OURS = {"django_migrations"}
#: What has no file of its own yet: a release that makes one has to say how it is compared.
_OTHER_KINDS = """
    SELECT format('type %s', oid::regtype) FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typrelid = 0 AND typelem = 0
    UNION ALL SELECT format('operator %s', oid::regoperator) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace
    UNION ALL SELECT format('materialized view %s', oid::regclass) FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind = 'm'
    UNION ALL SELECT format('aggregate %s', oid::regprocedure) FROM pg_proc
              WHERE pronamespace = 'public'::regnamespace AND prokind NOT IN ('f', 'p')
    UNION ALL SELECT format('constraint trigger %s', tgname) FROM pg_trigger
              WHERE tgconstraint <> 0 AND NOT tgisinternal
"""


class UnknownKind(Exception):
    """The migrations make an object of a kind that ``django_hookflow/sql/installed`` has no file for."""


def installed_files() -> dict[str, str]:
    """The name and the text of each file, as a freshly migrated database has them."""
    from django_hookflow.installed.catalog import find_log, read_relations, read_routines
    from django_hookflow.installed.shipped import rendered

    with migrated_database() as session, session.cursor() as cursor:
        unknown = [what for (what,) in cursor.execute(_OTHER_KINDS).fetchall()]
        if unknown:
            raise UnknownKind(", ".join(unknown))
        log = find_log(cursor)
        assert log is not None
        relations = [
            _as_shipped(cursor, each.relation) for each in read_relations(cursor, log) if not each.is_partition
        ]
        before = [each.routine for each in read_routines(cursor, log) if each.routine]
        _apply_roles(cursor)
        log = find_log(cursor)
        assert log is not None
        as_owner = {each.identity for each in read_routines(cursor, log) if each.routine and each.routine.as_owner}
    marked = [replace(each, as_owner=each.identity in as_owner) for each in before]
    return rendered(marked, [each for each in relations if each.name not in NOT_OURS])


def _as_shipped(cursor: psycopg.Cursor[Any], made: Relation) -> Relation:
    """A view in the words that its file has already, if they mean the same: each major version writes it in its own."""
    from django_hookflow.installed import views
    from django_hookflow.installed.shipped import shipped

    there = shipped().relations.get(made.name)
    if made.kind == "table" or there is None or there.kind == "table" or list(views.compare(cursor, made, there, "")):
        return made
    return replace(made, query=there.query)


@contextmanager
def migrated_database() -> Iterator[psycopg.Connection[Any]]:
    """A transaction in a new database that holds what the migrations make; both are gone afterwards.

    On the server of ``DATABASE_URL``, else on the embedded one.
    """
    with _server() as server, psycopg.connect(server, autocommit=True) as admin:
        name = f"hookflow_installed_{uuid.uuid4().hex}"
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            with psycopg.connect(make_conninfo(server, dbname=name)) as session:
                for _, text in collected_files():
                    session.execute(text.encode())
                session.commit()
                yield session
                session.rollback()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _apply_roles(cursor: psycopg.Cursor[Any]) -> None:
    """Roles of a name nobody has, in a transaction that is rolled back."""
    cursor.execute("RESET search_path; SET LOCAL client_min_messages = error")
    cursor.execute("SELECT set_config('hookflow.role_prefix', %s, true)", [f"hookflow_{uuid.uuid4().hex}"])
    cursor.execute(ROLES.read_bytes())


@contextmanager
def _server() -> Iterator[str]:
    if "DATABASE_URL" in os.environ:
        yield os.environ["DATABASE_URL"]
        return
    from django_hookflow.demo.postgres import EmbeddedPostgres

    with EmbeddedPostgres(fast=True) as address:
        yield address.url()
