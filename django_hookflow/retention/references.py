"""Rows of the project that refer to runs, and what becomes of them when the runs go: what their ``on_delete`` says.

Runs are removed by the database, where ``on_delete`` is not known; so Django's own collector is asked, for the rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import router
from django.db.models import DO_NOTHING, Model, QuerySet, Value
from django.db.models.deletion import Collector, ProtectedError, RestrictedError

from django_hookflow.events.database import alias, cursor
from django_hookflow.models import WorkflowRun
from django_hookflow.retention.runs import DueRun, batches_of
from django_hookflow.sql import load


def find_held(runs: Sequence[DueRun]) -> dict[UUID, str]:
    """Which of ``runs`` have to stay because of rows that refer to them, each with a sentence about it."""
    keys = _unanswered_keys()
    if not keys and not _relations():
        return {}
    held: dict[UUID, str] = {}
    for batch in batches_of(runs):
        for table, column, target in keys:
            held.update(_referred_to(batch, table, column, target))
        left = [run for run in batch if run.run_uid not in held]
        if _are_referred_to(left):
            held.update(_protected(left))
    return held


def release(runs: Iterable[DueRun]) -> None:
    """Deletes or changes the rows that refer to ``runs``. To be done in the transaction that removes those."""
    runs = list(runs)
    if _are_referred_to(runs):
        collector = _collected(runs)
        collector.sort()
        collector.data.pop(WorkflowRun, None)  # they are the database's to remove
        collector.delete()


def _are_referred_to(runs: Sequence[DueRun]) -> bool:
    """Asked in one statement: of most runs no row says anything, and the collector asks for each relation."""
    found = [
        each.related_model._base_manager.using(alias())  # noqa: SLF001 - private by name only: Django documents it
        .filter(**{f"{each.field.name}__in": _rows(runs)})
        .order_by()
        .values_list(Value(1))
        for each in _relations()
        if each.on_delete is not DO_NOTHING
    ]
    return bool(runs and found) and bool(found[0].union(*found[1:], all=True).exists())


def _relations() -> list[Any]:
    """The project's foreign keys to runs, those that have no name on this side and those of many-to-many included."""
    fields: list[Any] = WorkflowRun._meta.get_fields(include_hidden=True)
    relations = [field for field in fields if field.auto_created and not field.concrete and not field.many_to_many]
    return [
        each
        for each in relations
        if each.related_model._meta.app_label != WorkflowRun._meta.app_label and _is_here(each.related_model)
    ]


def _is_here(model: type[Model]) -> bool:
    """Whether its rows are in the log's database. Django acts on none in another, nor can a transaction."""
    return router.db_for_write(model) == alias()


def _unanswered_keys() -> list[tuple[str, str, str]]:
    """Foreign keys in the database that would refuse a run's removal, and about which Django does nothing or knows nothing:
    table, as it is written in SQL, column, and the column of the run."""
    answered = {
        (each.related_model._meta.db_table, each.field.column)
        for each in _relations()
        if each.on_delete is not DO_NOTHING
    }
    with cursor() as c:
        c.execute(load("retention_foreign_keys"))
        return [
            (table, column, target) for table, name, column, target in c.fetchall() if (name, column) not in answered
        ]


def _referred_to(runs: Sequence[DueRun], table: str, column: str, target: str) -> dict[UUID, str]:
    values: dict[Any, DueRun] = {run.run_uid if target == "id" else run.run_id: run for run in runs}
    with cursor() as c:
        c.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} = ANY (%s)", [list(values)])  # noqa: S608 - quoted by PostgreSQL
        return {values[value].run_uid: f"{table} refers to it" for (value,) in c.fetchall()}


def _protected(runs: Sequence[DueRun]) -> dict[UUID, str]:
    """Found by halves: the collector says that a row protects one of the runs, but not which."""
    if not runs:
        return {}
    try:
        _collected(runs)
    except (ProtectedError, RestrictedError) as refusal:
        if len(runs) > 1:
            middle = len(runs) // 2
            return {**_protected(runs[:middle]), **_protected(runs[middle:])}
        objects = refusal.protected_objects if isinstance(refusal, ProtectedError) else refusal.restricted_objects
        found = min(objects, key=lambda each: (each._meta.label, str(each.pk)))
        return {runs[0].run_uid: f"{found._meta.label} {found.pk} refers to it with on_delete=PROTECT"}
    return {}


class _Collector(Collector):
    def related_objects(self, related_model: type[Model], *arguments: Any) -> QuerySet[Any]:
        objects = super().related_objects(related_model, *arguments)
        return objects if _is_here(related_model) else objects.none()


def _collected(runs: Iterable[DueRun]) -> Collector:
    collector = _Collector(using=alias(), origin=WorkflowRun.objects.none())
    collector.collect(_rows(runs))
    return collector


def _rows(runs: Iterable[DueRun]) -> list[WorkflowRun]:
    return [WorkflowRun(id=run.run_uid, run_id=run.run_id) for run in runs]
