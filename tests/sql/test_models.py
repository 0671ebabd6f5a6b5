"""Each model describes its table: columns, keys, indexes and constraints as the database has them."""

from __future__ import annotations

import copy
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models

from django_hookflow.models import WorkflowRun
from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db

#: PostgreSQL knows of no column of a view that it is never null.
VIEWS = {"django_hookflow_stepexecution"}
MODELS = list(apps.get_app_config("django_hookflow").get_models())
#: The model has it nullable so that an event without a run row joins as such; in the table it is part of the key.
NULL_ONLY_IN_THE_MODEL = {"django_hookflow_event.run_uid"}


def columns_of_table(table: str) -> dict[str, tuple[str, bool]]:
    rows = ask(
        "SELECT attname, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        table,
    )
    return {row["attname"]: (row["type"], row["nullable"]) for row in rows}


def columns_of_model(model: type[models.Model]) -> Iterator[tuple[str, tuple[str, bool]]]:
    for field in model._meta.concrete_fields:
        type_ = (field.db_type(connection) or "").replace("varchar", "character varying")
        nullable = field.null and f"{model._meta.db_table}.{field.column}" not in NULL_ONLY_IN_THE_MODEL
        nullable = nullable or model._meta.db_table in VIEWS
        yield str(field.column), (type_, nullable)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_columns(model: type[models.Model]) -> None:
    columns = columns_of_table(model._meta.db_table)
    if model._meta.db_table == "django_hookflow_event":
        assert columns["run_uid"] == ("uuid", False)
    assert columns == dict(columns_of_model(model))


def definition(name: str) -> str:
    (row,) = ask(
        "SELECT coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(i.oid)) AS text FROM pg_class AS i "
        "LEFT JOIN pg_constraint AS c ON c.conindid = i.oid WHERE i.relname = %s",
        name,
    )
    return str(row["text"]).replace(name, "name")


def copies() -> Iterator[Any]:
    for model in MODELS:
        for kind, things in (("index", model._meta.indexes), ("constraint", model._meta.constraints)):
            for thing in things:
                yield pytest.param(model, kind, thing, id=thing.name)


@pytest.mark.parametrize(("model", "kind", "thing"), list(copies()))
def test_indexes_and_constraints(model: type[models.Model], kind: str, thing: Any) -> None:
    """What Django would create for it is what stands in the database under its name."""
    again = copy.copy(thing)
    again.name = "made_by_django"
    with connection.schema_editor() as editor:
        getattr(editor, f"add_{kind}")(model, again)
    assert definition(thing.name) == definition("made_by_django")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_nothing_is_indexed_or_constrained_behind_the_models_back(model: type[models.Model]) -> None:
    """Tables alone have more that have a key of several columns, which Django 4.2 does not know; and the table of events,
    which has a BRIN index, one for each of two views, one that has signals taken once, two of what people did, and the constraint that is its format; and
    the table of runs, whose index of subjects Django knows only with django.contrib.postgres installed."""
    table = model._meta.db_table
    named = {thing.name for thing in (*model._meta.indexes, *model._meta.constraints)}
    found = set(connection.introspection.get_constraints(connection.cursor(), table)) - named
    by_meaning = {name for name in found if not name.endswith("_not_null")}
    if table == "django_hookflow_event":
        assert by_meaning == {
            "django_hookflow_event_pk",
            "django_hookflow_event_feed",
            "django_hookflow_event_retained",
            "django_hookflow_event_superseded",
            "django_hookflow_event_signal_once",
            "django_hookflow_event_acts",
            "django_hookflow_event_acts_of",
            "django_hookflow_event_is_well_formed",
        }
    elif table in VIEWS:
        assert by_meaning == set()
    else:
        unique = {
            f"{table}_{field.name}_once" for field in model._meta.fields if field.unique and not field.primary_key
        }
        of_subjects = {"django_hookflow_run_by_subject"} if model is WorkflowRun else set()
        assert by_meaning == {f"{table}_pk"} | unique | of_subjects


def test_a_project_needs_no_app_of_django_that_it_does_not_have() -> None:
    """Since Django 6.1 a check wants django.contrib.postgres where a model has an index of that app."""
    assert "django.contrib.postgres" not in settings.INSTALLED_APPS
    of_ours = [
        thing
        for model in apps.get_app_config("django_hookflow").get_models()
        for thing in (*model._meta.indexes, *model._meta.constraints, *model._meta.get_fields())
    ]
    assert [thing for thing in of_ours if type(thing).__module__.startswith("django.contrib.postgres")] == []


def test_makemigrations_finds_nothing_to_do() -> None:
    output = StringIO()
    call_command("makemigrations", "django_hookflow", check=True, dry_run=True, stdout=output)
    assert output.getvalue().strip() == "No changes detected in app 'django_hookflow'"
