"""Searching in what runs were started with and what they returned: ``data.customer.name:"Grace Hopper"``.

Keys with dots between them, and one value: a text, in quotes or not, a number, true, false or null. A list on the way
is looked into (``data.lines.article:A-7``). Without an index on the column the newest runs are looked through, so many
and for so long, and the note says how many; with one (``guides/console_lists.md``) all of them are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import DataError, ProgrammingError, connections

from django_hookflow.admin.bounded import TookTooLong, at_most
from django_hookflow.admin.counts import CAP, compile_query
from django_hookflow.sql import load

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet

    from django_hookflow.models import WorkflowRun

#: Runs that are looked through where there is no index, the second number when the first took too long; and seconds.
LOOKED_AT, SECONDS = (20_000, 1_000), 3.0
TERM = re.compile(r'(?P<column>data|result)(?P<path>(?:\.(?:"(?:[^"\\]|\\.)*"|[^.:"\s]+))*):(?P<value>.+)', re.DOTALL)
KEY = re.compile(r'\.("(?:[^"\\]|\\.)*"|[^.:"\s]+)')
NUMBER = re.compile(r"-?(0|[1-9]\d{0,99})(\.\d{1,99})?", re.ASCII)


class CannotSearch(Exception):
    """What is asked for cannot be searched for; the text says why."""


@dataclass(frozen=True)
class DataTerm:
    column: str
    path: str

    @classmethod
    def read(cls, term: str) -> DataTerm | None:
        """None for a term that asks for nothing in the data. Raises CannotSearch."""
        found = TERM.fullmatch(term)
        if not found:
            return None
        try:
            keys = [json.loads(key) if key.startswith('"') else key for key in KEY.findall(found["path"])]
        except ValueError as error:
            raise CannotSearch(f"{found['path']} is not a path: write keys with dots between them.") from error
        wanted = " || ".join(f"@ == {value}" for value in values_of(found["value"].strip()))
        return cls(found["column"], f"${''.join(f'.{json.dumps(key)}' for key in keys)} ? ({wanted})")


def values_of(text: str) -> list[str]:
    """What a value may stand for, as JSON: ``17`` is the number and the text. Raises CannotSearch."""
    if text.startswith('"'):
        try:
            return [json.dumps(json.loads(text))]
        except ValueError as error:
            raise CannotSearch(f"The value {text} begins with a quote but is not a valid JSON string.") from error
    if text[:1] in "[{":
        raise CannotSearch("A list or an object cannot be searched for: search for one value in it.")
    is_plain = text in ("true", "false", "null") or NUMBER.fullmatch(text)
    return [text, json.dumps(text)] if is_plain else [json.dumps(text)]


def search_data(question: DataTerm, runs: QuerySet[WorkflowRun]) -> tuple[list[UUID], str]:
    """The newest of ``runs`` that the question fits, at most ``CAP + 1``, and what has not been looked at."""
    column, using = question.column, runs.db
    try:
        if has_index(column, using):
            return ask_all(question, runs), ""
        for looked_at in LOOKED_AT:
            try:
                found = ask(question, runs, looked_at)
            except TookTooLong:
                continue
            return found, (
                f"Searched the {column} of the newest {looked_at:,} runs that match the filters. "
                "Choose a time or a workflow to narrow it down, or add the index to search them all."
            )
    except TookTooLong:
        return [], f"Gave up after {SECONDS:g} s, even with the index: search for a rarer value."
    except EmptyResultSet:
        return [], ""
    except (DataError, ProgrammingError) as error:
        raise CannotSearch("PostgreSQL does not accept this path and value.") from error
    return [], f"Gave up after {SECONDS:g} s: choose a workflow, or a shorter period."


def ask(question: DataTerm, runs: QuerySet[WorkflowRun], looked_at: int) -> list[UUID]:
    newest = runs.order_by("-created_at").values_list("pk", "created_at", question.column)[:looked_at]
    return read(newest, question)


def ask_all(question: DataTerm, runs: QuerySet[WorkflowRun]) -> list[UUID]:
    return read(runs.order_by().values_list("pk", "created_at", question.column), question)


def read(runs: QuerySet[Any, Any], question: DataTerm) -> list[UUID]:
    sql, parameters = compile_query(runs)
    with at_most(SECONDS, runs.db) as cursor:
        statement = load("list_by_data").replace("{runs}", sql)
        cursor.execute(statement, [*parameters, question.path, CAP + 1])
        return [run_uid for (run_uid,) in cursor.fetchall()]


def has_index(column: str, using: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(load("list_data_index"), {"column": column})
        return bool(cursor.fetchone()[0])
