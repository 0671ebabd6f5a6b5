"""What the catalog of a database has of our objects. Each query is a file in ``django_hookflow/sql``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django_hookflow.installed.definitions import Relation, Routine, Trigger, shape_of
from django_hookflow.sql import load

_KINDS = {"r": "table", "p": "table", "f": "foreign table", "m": "materialized view", "v": "view"}


@dataclass(frozen=True)
class Log:
    """Where the log is: its schema (``quoted`` as in SQL), its owner, and the ``path`` of this login, all implied."""

    schema: int
    name: str
    quoted: str
    table: int
    owner_id: int
    owner: str
    path: list[str]


@dataclass(frozen=True)
class FoundRoutine:
    """``routine`` is None for what is no function or procedure, such as an aggregate."""

    identity: str
    routine: Routine | None
    owner: str


@dataclass(frozen=True)
class FoundRelation:
    """``kind`` is the catalog's word for it, ``label`` its name as SQL takes it on the path that is set here."""

    oid: int
    name: str
    label: str
    kind: str
    owner: str
    is_partition: bool
    relation: Relation


def find_log(cursor: Any) -> Log | None:
    """The log that this login's search_path names first; None if there is none. For the rest of the transaction
    ``search_path`` is PostgreSQL's own objects, then the log's schema, and temporary ones last."""
    cursor.execute("SELECT pg_catalog.current_schemas(true)")
    path = [str(name) for name in cursor.fetchone()[0]]
    cursor.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)")
    in_schemas = [name for name in path if not name.startswith("pg_temp_")]
    cursor.execute(load("catalog_log"), {"path": in_schemas})
    found = cursor.fetchone()
    if found is None:
        return None
    schema, name, quoted, table, owner_id, owner = found
    log = Log(schema, name, quoted, table, owner_id, owner, path)
    cursor.execute(
        "SELECT pg_catalog.set_config('search_path', %s::text, true)", [f"pg_catalog, {log.quoted}, pg_temp"]
    )
    return log


def read_routines(cursor: Any, log: Log, names: list[str] | None = None) -> list[FoundRoutine]:
    """The functions of the log's schema that have one of these names; without names, all of them."""
    cursor.execute(load("catalog_routines"), {"schema": log.schema, "names": names})
    return [
        FoundRoutine(f"{name}({types})", _routine(f"{name}({types})", text, is_definer, config, log), owner)
        for name, types, text, is_definer, config, owner in cursor.fetchall()
    ]


def read_relations(cursor: Any, log: Log, names: list[str] | None = None) -> list[FoundRelation]:
    """The same for tables and views; with the partitions of the log, whatever they are called."""
    values = {"schema": log.schema, "log": log.table, "names": names}
    cursor.execute(load("catalog_relations"), values)
    found = [
        FoundRelation(
            *(oid, name, label, _KINDS[kind], owner, is_partition),
            Relation(name, "view" if kind == "v" else "table", query=query or "", options=options or ""),
        )
        for oid, name, label, kind, owner, is_partition, options, query in cursor.fetchall()
    ]
    cursor.execute(load("catalog_triggers"), {"relations": [each.oid for each in found]})
    labels = {each.oid: each.label for each in found}
    triggers: dict[int, list[Trigger]] = {}
    for oid, name, state, quoted, text in cursor.fetchall():
        shape = shape_of(text.removeprefix(f"CREATE TRIGGER {quoted} "), labels[oid])
        triggers.setdefault(oid, []).append(Trigger(name, shape, state))
    return [
        replace(each, relation=replace(each.relation, triggers=tuple(triggers.get(each.oid, [])))) for each in found
    ]


def _routine(identity: str, text: str | None, is_definer: bool, config: list[str] | None, log: Log) -> Routine | None:
    if text is None:
        return None
    text = text.replace(f" {log.quoted}.", " ", 1)
    if is_definer and f"search_path=pg_catalog, {log.quoted}, pg_temp" in (config or []):
        return Routine(identity, _without_definer(text), as_owner=True)
    return Routine(identity, text)


def _without_definer(text: str) -> str:
    """The text as it was before roles.sql."""
    head, quoted, body = text.partition("\nAS $")
    lines = head.replace(" SECURITY DEFINER", "", 1).split("\n")
    kept = [line for line in lines if line.strip() and not line.startswith(" SET search_path TO ")]
    return "\n".join(kept) + quoted + body
