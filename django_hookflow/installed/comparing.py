"""The catalog held against the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_hookflow.installed import views
from django_hookflow.installed.catalog import FoundRelation, FoundRoutine, Log, find_log, read_relations, read_routines
from django_hookflow.installed.definitions import Routine, Trigger
from django_hookflow.installed.deviations import Deviation
from django_hookflow.installed.shipped import Shipped, shipped
from django_hookflow.sql import load


def compare(cursor: Any) -> list[Deviation]:
    """What is not as this release installs it; nothing where there is no log.

    Call it in a transaction that is rolled back: it sets ``search_path`` and, where only that can tell whether a view is
    the same, makes a temporary one.
    """
    log = find_log(cursor)
    if log is None:
        return []
    ours = shipped()
    relations = read_relations(cursor, log, list(ours.relations))
    return [
        *_compare_routines(read_routines(cursor, log, ours.names), ours, log),
        *_compare_relations(cursor, relations, ours, log),
        *_find_planted(cursor, relations, log),
        *_find_shadows(cursor, relations, ours, log),
    ]


def _compare_routines(found: list[FoundRoutine], ours: Shipped, log: Log) -> Iterator[Deviation]:
    there = {each.identity: each for each in found}
    with_roles = any(each.routine and each.routine.as_owner for each in found)
    for identity, wanted in ours.routines.items():
        what, file = f"function {identity}", ours.files[identity]
        if identity not in there:
            yield Deviation("missing", what, file=file)
            continue
        differing = _difference(there[identity], wanted, with_roles=with_roles, log=log)
        if differing:
            yield Deviation("differs", what, differing, file)
    for identity in there.keys() - ours.routines.keys():
        yield Deviation("planted", f"function {identity}", "an overload of one of our functions")


def _difference(found: FoundRoutine, wanted: Routine, *, with_roles: bool, log: Log) -> str:
    """What of it differs, "" if nothing does."""
    if found.routine is None or found.routine.text != wanted.text:
        return "different definition"
    if found.routine.as_owner and not wanted.as_owner:
        return "it runs as its owner"
    if with_roles and wanted.as_owner and not found.routine.as_owner:
        return "it runs as its caller, unlike the other functions in roles.sql"
    return f"owned by {found.owner}" if found.owner != log.owner else ""


def _compare_relations(cursor: Any, found: list[FoundRelation], ours: Shipped, log: Log) -> Iterator[Deviation]:
    there = {each.name: each for each in found if not each.is_partition}
    for name, wanted in ours.relations.items():
        what, file = f"{wanted.kind} {name}", ours.files[name]
        if name not in there:
            yield Deviation("missing", what, file=file if wanted.kind == "view" else "")
            continue
        is_ = there[name]
        if is_.kind != wanted.kind:
            yield Deviation("differs", what, f"it is a {is_.kind}", file)
        elif wanted.kind == "view":
            yield from views.compare(cursor, is_.relation, wanted, file)
        if is_.owner != log.owner:
            yield Deviation("differs", what, f"owned by {is_.owner}", file)
        yield from _compare_triggers(is_, wanted.triggers, file)
    guards = ours.relations["django_hookflow_event"].triggers
    for partition in found:
        if partition.is_partition:
            if partition.owner != log.owner or partition.kind != "table":
                yield Deviation(
                    "differs", f"partition {partition.label}", f"{partition.kind} owned by {partition.owner}"
                )
            yield from _compare_triggers(partition, guards, "")


def _compare_triggers(found: FoundRelation, wanted: tuple[Trigger, ...], file: str) -> Iterator[Deviation]:
    """By what they do: the guard against TRUNCATE has a name of its own on each partition."""
    there = {(trigger.shape, trigger.state) for trigger in found.relation.triggers}
    for trigger in wanted:
        if (trigger.shape, trigger.state) in there:
            continue
        if trigger.is_guard:
            yield Deviation("unguarded", found.label, trigger.statements, file)
        else:
            yield Deviation("missing", f"trigger {trigger.name} on {found.label}", file=file)
    shapes = {trigger.shape for trigger in wanted}
    for trigger in found.relation.triggers:
        if trigger.shape not in shapes:
            yield Deviation("planted", f"trigger {trigger.name} on {found.label}")


def _find_planted(cursor: Any, relations: list[FoundRelation], log: Log) -> Iterator[Deviation]:
    labels = {each.oid: each.label for each in relations}
    cursor.execute(load("catalog_planted"), {"relations": list(labels), "owner": log.owner_id})
    for what, relation, function in cursor.fetchall():
        calls = f"it calls {function}, which is not {log.owner}'s" if function else ""
        yield Deviation("planted", f"{what} on {labels[relation]}", calls)


def _find_shadows(cursor: Any, relations: list[FoundRelation], ours: Shipped, log: Log) -> Iterator[Deviation]:
    values = {
        "path": log.path,
        "schema": log.schema,
        "owner": log.owner_id,
        "relations": [each.oid for each in relations],
        "names": ours.names,
        "called": ours.called,
    }
    cursor.execute(load("catalog_shadows"), values)
    for (what,) in cursor.fetchall():
        yield Deviation("shadowed", what)
