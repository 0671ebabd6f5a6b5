"""The tests' database, changed by somebody, and what the doctor finds then. Each change is undone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from django_hookflow.installed.shipped import shipped
from tests.doctor.diagnosis import diagnose

#: Which function guards the log against TRUNCATE, and which one against UPDATE and DELETE.
_GUARDS = {trigger.statements: trigger.function for trigger in shipped().relations["django_hookflow_event"].triggers}
TRUNCATE_GUARD, ROW_GUARD = _GUARDS["TRUNCATE"], _GUARDS["UPDATE and DELETE"]
OBJECTS = {f"django_hookflow.{number}" for number in ("E021", "E025", "E026", "E027", "E028", "I025")}


def run_sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def rows(query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, arguments or None)
        return list(cursor.fetchall())


@contextmanager
def undone() -> Iterator[None]:
    """What is done inside is rolled back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def found() -> dict[str, str]:
    """What ``hookflow_doctor`` sees wrong with the objects in the database, by the number of the check."""
    diagnosis = diagnose("schema", "guards")
    seen: dict[str, str] = {}
    for finding in diagnosis.told["findings"]:
        if finding["code"] in OBJECTS:
            assert finding["way_out"]
            number = finding["code"].removeprefix("django_hookflow.")
            seen[number] = "\n".join(filter(None, [seen.get(number, ""), finding["seen"]]))
        else:
            assert finding["level"] == "ok", finding
    assert diagnosis.exit_code == bool(seen.keys() - {"I025"})
    return seen


def found_after(statement: str) -> dict[str, str]:
    with undone():
        run_sql(statement)
        return found()
