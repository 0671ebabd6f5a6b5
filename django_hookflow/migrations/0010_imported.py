"""The runs of 0.0.x, if there are any, become runs of the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import migrations, models

#: One transaction imports so many.
RUNS_PER_BATCH = 500


class ImportRuns(migrations.RunPython):
    """Batch by batch, each its own transaction: stopped and run again, it goes on with the rest."""

    def __init__(self) -> None:
        super().__init__(import_runs, restore_columns)

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [], {}

    def describe(self) -> str:
        return "Runs of 0.0.x; by hand, after this and outside of a transaction: CALL hookflow_import();"


def import_runs(_apps: Any, schema_editor: Any) -> None:
    after: int | None = 0
    with schema_editor.connection.cursor() as cursor:
        while after is not None:
            cursor.execute("SELECT hookflow_import_next(%s, %s)", [after, RUNS_PER_BATCH])
            (after,) = cursor.fetchone()
        if _has_predecessor(cursor):
            cursor.execute(
                "SELECT hookflow_convert_references('hookflow_0_0_workflowrun', 'django_hookflow_workflowrun', 'hookflow_new_key')"
            )
            _convert_columns(cursor, "hookflow_new_key")


def restore_columns(_apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        if _has_predecessor(cursor):
            _convert_columns(cursor, "hookflow_old_key")


def _has_predecessor(cursor: Any) -> bool:
    cursor.execute("SELECT to_regclass('hookflow_0_0_workflowrun') IS NOT NULL")
    return bool(cursor.fetchone()[0])


def _convert_columns(cursor: Any, key: str) -> None:
    for table, column in _unconstrained_columns():
        cursor.execute("SELECT hookflow_convert_column(%s, %s, %s)", [table, column, key])


def _unconstrained_columns() -> Iterator[tuple[str, str]]:
    """Foreign keys of the project's models to runs that are none in the database."""
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label == "django_hookflow":
            continue
        for field in model._meta.local_concrete_fields:
            if not isinstance(field, models.ForeignKey) or field.db_constraint or field.column is None:  # type: ignore[attr-defined]  # the stubs lack it
                continue
            target = field.target_field
            if target.model._meta.label == "django_hookflow.WorkflowRun" and target.primary_key:
                yield model._meta.db_table, field.column


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("django_hookflow", "0009_import")]

    operations = [ImportRuns()]
