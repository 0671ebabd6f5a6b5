"""What is left of 0.0.x: beside this release's migrations, where it keeps ``migrate`` from taking its database over, and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.db.migrations.exceptions import NodeNotFoundError
from django.db.migrations.loader import MigrationLoader

from django_hookflow.checks.messages import error, warning
from django_hookflow.checks.server import is_looked_at
from django_hookflow.events.database import cursor
from django_hookflow.installed import last_migration

if TYPE_CHECKING:
    from collections.abc import Collection

APP = "django_hookflow"
MODULE = "django_hookflow.migrations"
FOLDER = Path(__file__).parents[1] / "migrations"
OF_YOURS = (
    'If one of your migrations depends on a removed one, change its dependency to ("django_hookflow", "0001_initial").'
)

_REFERENCES = """
    SELECT c.conrelid::regclass || '.' || quote_ident(a.attname) || ' to ' || target.relname
    FROM pg_constraint AS c
    JOIN pg_class AS target ON target.oid = c.confrelid
    JOIN pg_class AS relation ON relation.oid = c.conrelid
    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND starts_with(target.relname, 'hookflow_0_0_') AND NOT starts_with(relation.relname, 'hookflow_0_0_')
    ORDER BY 1
"""


def check_migrations(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """E024: the migrations of this app that Django finds are those of this release."""
    if not is_looked_at(databases):
        return []
    module = settings.MIGRATION_MODULES.get(APP, MODULE)
    if module is None:  # tests without migrations
        return []
    if module != MODULE:
        return [
            error(
                "E024",
                f"MIGRATION_MODULES sets the migrations of django_hookflow to {module}, which does not contain the "
                "migrations of this release.",
                f"Remove that entry. {OF_YOURS}",
            )
        ]
    strays = _strays()
    if not strays:
        return []
    return [
        error(
            "E024",
            "The migrations folder of django_hookflow contains migrations that are not part of this release: "
            f"{', '.join(strays)}.",
            f"Delete them. Running makemigrations with 0.0.x created such files in {FOLDER}, and uninstalling 0.0.x "
            f"does not remove them. {OF_YOURS}",
        )
    ]


def _strays() -> list[str]:
    """Those that nothing of ours builds on. What they build on is ours, or the only one there is."""
    try:
        graph = MigrationLoader(None, ignore_no_migrations=True).graph
    except NodeNotFoundError:  # Django says that itself
        return []
    ours = set(graph.forwards_plan((APP, last_migration())))
    return sorted(name for app, name in set(graph.nodes) - ours if app == APP)


def check_references(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """W024: no foreign key of the project refers to what 0.0.x has left."""
    if not is_looked_at(databases):
        return []
    with cursor() as c:
        c.execute(_REFERENCES)
        found = ", ".join(reference for (reference,) in c.fetchall())
    if not found:
        return []
    return [
        warning(
            "W024",
            f"Foreign keys still refer to tables of django-hookflow 0.0.x: {found}.",
            "Foreign keys to runs are converted by the import: run manage.py migrate, or CALL hookflow_import() in "
            "psql. Dead letters and steps have new keys: remove foreign keys to them, or make them refer to the run.",
        )
    ]
