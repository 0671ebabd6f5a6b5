"""The areas in order, and how one is looked at so that nothing is changed and nothing escapes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, transaction

from django_hookflow.conf import is_stateless
from django_hookflow.doctor.address import look_at_address
from django_hookflow.doctor.clocks import look_at_clocks
from django_hookflow.doctor.database import (
    MIGRATE,
    UNREACHABLE,
    look_at_database,
    look_at_guards,
    look_at_partitions,
    look_at_roles,
    look_at_schema,
)
from django_hookflow.doctor.findings import Finding, error, warning
from django_hookflow.doctor.keeping import look_at_archive, look_at_checkpoints
from django_hookflow.doctor.qstash import look_at_keys
from django_hookflow.doctor.relay import look_at_relay
from django_hookflow.doctor.runs import look_at_runs
from django_hookflow.doctor.settings import look_at_settings
from django_hookflow.doctor.signature import look_at_signature
from django_hookflow.doctor.subscribers import look_at_subscribers
from django_hookflow.doctor.visit import Visit
from django_hookflow.events.database import alias, cursor, first_line
from django_hookflow.exceptions import HookFlowException, NeedsLog

logger = logging.getLogger("django_hookflow.doctor")

QUERY_SECONDS = 5


@dataclass(frozen=True)
class Area:
    """``reads``: needs the database; ``asks``: needs the network, for all it does."""

    name: str
    look: Callable[[Visit], Iterable[Finding]]
    reads: bool = False
    asks: bool = False


DATABASE = Area("database", look_at_database)
AREAS: dict[str, Area] = {
    area.name: area
    for area in (
        Area("settings", look_at_settings),
        DATABASE,
        Area("schema", look_at_schema, reads=True),
        Area("guards", look_at_guards, reads=True),
        Area("roles", look_at_roles, reads=True),
        Area("partitions", look_at_partitions, reads=True),
        Area("clocks", look_at_clocks, reads=True),
        Area("keys", look_at_keys, asks=True),
        Area("signature", look_at_signature),
        Area("address", look_at_address, asks=True),
        Area("relay", look_at_relay, reads=True),
        Area("runs", look_at_runs, reads=True),
        Area("subscribers", look_at_subscribers, reads=True),
        Area("archive", look_at_archive),
        Area("checkpoints", look_at_checkpoints, reads=True),
    )
}


@dataclass(frozen=True)
class Examined:
    """An area and what was found there, or why it was ``skipped``."""

    area: str
    findings: list[Finding] = field(default_factory=list)
    skipped: str = ""


def examine(names: Collection[str] = (), *, offline: bool = False) -> Iterator[Examined]:
    """Each area in turn, those of these names or all. ``database`` comes with every area that reads one."""
    chosen = [area for area in AREAS.values() if not names or area.name in names]
    visit, is_away = Visit(offline=offline), False
    for area in AREAS.values():
        if is_stateless() and (area.reads or area is DATABASE):
            if area in chosen:
                yield Examined(area.name, skipped=str(NeedsLog()))
        elif area is DATABASE and any(each.reads or each is DATABASE for each in chosen):
            findings = _look(area, visit)
            is_away = any(finding.code == UNREACHABLE for finding in findings)
            yield Examined(area.name, findings)
        elif area in chosen and area.reads and is_away:
            yield Examined(area.name, skipped="the database cannot be reached")
        elif area in chosen and area.asks and offline:
            yield Examined(area.name, skipped="--offline")
        elif area in chosen and area is not DATABASE:
            yield Examined(area.name, _look(area, visit))


def _look(area: Area, visit: Visit) -> list[Finding]:
    try:
        with _reading() if area.reads else nullcontext():
            return list(area.look(visit))
    except Error as failure:
        return [_say_unreadable(area.name, failure)]
    except (HookFlowException, ImproperlyConfigured) as failure:
        way_out = "Fix that setting; manage.py hookflow_settings lists all settings."
        return [error(f"{area.name}.misconfigured", f"This area could not be checked: {failure}", way_out)]
    except Exception as failure:  # the other areas are to be looked at all the same
        logger.exception("hookflow_doctor failed in the area %s", area.name)
        way_out = (
            "See the traceback in the django_hookflow.doctor log. Please report it as a bug, unless data was changed "
            "by hand."
        )
        return [
            error(
                f"{area.name}.failed",
                f"hookflow_doctor failed while checking this area ({type(failure).__name__}).",
                way_out,
            )
        ]


@contextmanager
def _reading() -> Iterator[None]:
    """A transaction in which no statement takes long and of which nothing stays."""
    using = alias()
    with transaction.atomic(using=using):
        with cursor() as c:
            c.execute(f"SET LOCAL statement_timeout = '{QUERY_SECONDS}s'")
        try:
            yield
        finally:
            transaction.set_rollback(True, using=using)


def _say_unreadable(area: str, failure: Error) -> Finding:
    state = getattr(failure.__cause__, "sqlstate", None) or ""
    problem = f"{first_line(failure)}."
    if state == "42501":  # insufficient_privilege
        way_out = "Run hookflow_doctor with a login that is a member of hookflow_app or hookflow_owner."
        return warning(f"{area}.not_permitted", f"This login does not have the required privileges: {problem}", way_out)
    if state == "57014":  # query_canceled
        way_out = f"Look in pg_stat_activity for what keeps the server busy, then run hookflow_doctor --only {area}."
        return warning(f"{area}.too_slow", f"Timed out after {QUERY_SECONDS} s: {problem}", way_out)
    if state.startswith("42"):  # what is asked for is not there
        return error(f"{area}.not_migrated", f"This area could not be checked: {problem}", MIGRATE)
    way_out = "Check the log of the database server, then run hookflow_doctor again."
    return error(f"{area}.failed", f"This area could not be checked: {problem}", way_out)
