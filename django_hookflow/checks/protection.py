"""What protects the log in this deployment, layer by layer, as ``check --deploy --database default`` lists it.

Each layer stops somebody the one before it does not (guides/evidence.md). Guards and the hash chain come
with the schema; privileges come with ``migrations_sql/roles.sql`` and hold for the login that asks; checkpoints and
archives are made by commands and kept outside the database.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core import checks
from django.core.checks import CheckMessage

from django_hookflow.checks.messages import error
from django_hookflow.checks.objects import check_objects
from django_hookflow.checks.server import is_looked_at
from django_hookflow.conf import SETTINGS
from django_hookflow.events.database import cursor
from django_hookflow.installed import function_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: How the login could write to the log without the functions; null when it cannot. Owners are asked for first: an
#: owner has every privilege, and taking them away would not help.
_WAY_AROUND = """
    SELECT current_user, CASE
      WHEN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN 'is a superuser'
      WHEN bool_or(pg_has_role(relowner, 'MEMBER')) THEN 'owns the tables of the log, or can act as their owner'
      WHEN bool_or(has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER'))
        THEN 'has privileges to write to the tables of the log'
      WHEN bool_or(has_schema_privilege(relnamespace, 'CREATE'))
        THEN 'can create objects in the schema of the log, in front of the log''s own'
    END
    FROM pg_class
    WHERE oid = to_regclass('django_hookflow_head')
       OR oid IN (SELECT relid FROM pg_partition_tree(to_regclass('django_hookflow_event')))
"""

#: Where a function runs as the owner of the log, everybody who may call it writes to the log.
_OPEN = """
    SELECT routine.oid::regprocedure::text
    FROM pg_proc AS routine JOIN pg_class AS log ON log.relnamespace = routine.pronamespace
    WHERE log.oid = to_regclass('django_hookflow_event') AND routine.prosecdef AND routine.proname = ANY (%s::name[])
      AND has_function_privilege('public', routine.oid, 'EXECUTE')
    ORDER BY 1
"""


@dataclass(frozen=True)
class Layers:
    """What is on. ``way_around`` says how ``login`` gets past the privileges, "" if it does not.

    ``open`` are functions that run as the owner of the log and that everybody may call.
    """

    guards: bool
    login: str
    way_around: str
    last_checkpoint: datetime.datetime | None
    archive: bool
    open: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        checkpoints = f"on (last made on {self.last_checkpoint:%Y-%m-%d})" if self.last_checkpoint else "off"
        return (
            f"guards {_on(self.guards)}, privileges {_on(not self.way_around and not self.open)} for {self.login}, hash chain on, "
            f"signed checkpoints {checkpoints}, archive {_on(self.archive)}"
        )


def check_protection(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """I030, W030, E030: which layers protect the log, and whether this login gets past them."""
    if not is_looked_at(databases):
        return []
    guards = not any(message.id == "django_hookflow.E021" for message in check_objects(databases))
    with cursor() as c:
        layers = look(c, guards=guards)
    return list(describe(layers)) if layers else []


def look(cursor: Any, *, guards: bool) -> Layers | None:
    """The layers as the login of this cursor has them; None when there is no log yet. ``guards``: whether they hold."""
    cursor.execute(
        "SELECT to_regclass('django_hookflow_event') IS NOT NULL,"
        " has_table_privilege(to_regclass('django_hookflow_checkpoint'), 'SELECT')"
    )
    has_log, may_read_checkpoints = cursor.fetchone()
    if not has_log:
        return None
    cursor.execute(_WAY_AROUND)
    login, way_around = cursor.fetchone()
    cursor.execute(_OPEN, [function_names()])
    open_to_all = tuple(name for (name,) in cursor.fetchall())
    last_checkpoint = _last_checkpoint(cursor) if may_read_checkpoints else None
    archive = bool(SETTINGS["DJANGO_HOOKFLOW_ARCHIVE_DIR"].read())
    return Layers(guards, login, way_around or "", last_checkpoint, archive, open_to_all)


def describe(layers: Layers) -> Iterator[CheckMessage]:
    """I030, W030 when the login could write to the log directly, E030 when everybody could by functions."""
    yield checks.Info(
        f"Protection of the event log: {layers.text}.",
        hint=" ".join(_ways_to_more(layers)) or "All protections are on.",
        id="django_hookflow.I030",
    )
    if layers.way_around:
        yield checks.Warning(
            f"The database login {layers.login} {layers.way_around}: anyone with the application's credentials can "
            "change the log.",
            hint=(
                "Run migrations_sql/roles.sql as described in its README, and let the application log in as a member "
                "of hookflow_app only. Maintenance commands (migrate, hookflow_rebuild, cleanup_workflows) need other "
                "credentials."
            ),
            id="django_hookflow.W030",
        )
    if layers.open:
        yield error(
            "E030",
            "Any database login can write to the log, because it may call functions that run as the log's owner: "
            f"{', '.join(layers.open)}.",
            "Run migrations_sql/roles.sql again. Restoring a dump with --no-acl loses the privileges on functions, "
            "and by default PostgreSQL lets PUBLIC call them.",
        )


def _ways_to_more(layers: Layers) -> Iterator[str]:
    if not layers.guards:
        yield "Guards: see E021."
    if layers.way_around:
        yield "Privileges: see W030."
    if layers.open:
        yield "Privileges: see E030."
    if layers.last_checkpoint is None:
        yield (
            "Checkpoints: without them, removed or truncated runs cannot be detected. Run manage.py "
            "hookflow_checkpoint every day and store the files outside the database."
        )
    if not layers.archive:
        yield "Archive: see W011."


def _last_checkpoint(cursor: Any) -> datetime.datetime | None:
    cursor.execute("SELECT max(made_at) FROM django_hookflow_checkpoint")
    made_at: datetime.datetime | None = cursor.fetchone()[0]
    return made_at


def _on(state: bool) -> str:
    return "on" if state else "off"
