"""What a database's catalog says of the package's objects, in a form that can be compared."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connection

RELATIONS = "(SELECT oid FROM pg_class WHERE relname LIKE 'django_hookflow%')"
QUERIES = {
    "relations": """
        SELECT relname, relkind::text, relpersistence::text, reloptions, pg_get_expr(relpartbound, oid),
               pg_get_partkeydef(oid), (SELECT amname FROM pg_am WHERE pg_am.oid = relam)
        FROM pg_class WHERE oid IN {relations}
    """,
    "columns": """
        SELECT attrelid::regclass::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
               attidentity::text, attstorage::text, pg_get_expr(adbin, adrelid)
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN {relations} AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
        FROM pg_constraint WHERE conrelid IN {relations}
    """,
    "indexes": "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN {relations}",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid), obj_description(oid, 'pg_trigger')
        FROM pg_trigger WHERE tgrelid IN {relations} AND NOT tgisinternal  -- nor those of foreign keys of the project
    """,
    "functions": """
        SELECT proname, pg_get_functiondef(oid)
        FROM pg_proc WHERE proname LIKE 'hookflow%' OR proname LIKE 'pgtrigger%'
    """,
    "views": """
        SELECT relname, pg_get_viewdef(oid), coalesce(relacl, acldefault('r', relowner))::text FROM pg_class
        WHERE relkind = 'v' AND (relname LIKE 'django_hookflow%' OR relname LIKE 'hookflow%')
    """,
    "comments": """
        SELECT objoid::regclass::text, objsubid, description FROM pg_description JOIN pg_class ON pg_class.oid = objoid
        WHERE classoid = 'pg_class'::regclass AND (relname LIKE 'django_hookflow%' OR relname LIKE 'hookflow%')
    """,
    "sequences": """
        SELECT seqrelid::regclass::text, seqstart, seqincrement, seqcache, seqcycle, format_type(seqtypid, NULL)
        FROM pg_sequence WHERE seqrelid IN {relations}
    """,
}
Catalog = dict[str, list[tuple[Any, ...]]]


def connect(database: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to a database of the test's server, in autocommit."""
    entry = connection.settings_dict
    return psycopg.connect(
        dbname=database,
        user=entry["USER"],
        password=entry["PASSWORD"],
        host=entry["HOST"],
        port=entry["PORT"] or None,
        autocommit=True,
    )


def catalog_of(database: str) -> Catalog:
    with connect(database) as session:
        return {
            name: sorted(session.execute(query.format(relations=RELATIONS)).fetchall(), key=repr)
            for name, query in QUERIES.items()
        }
