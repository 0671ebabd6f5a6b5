"""Runs counted and read so that it takes no longer with a million of them.

A page needs to know how many there are up to :data:`CAP`; more is shown as "1,000+". Each count stops there, and goes
along an index in the order of the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import connections

from django_hookflow.models import WorkflowRun, WorkflowRunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import QuerySet

#: Runs that are counted, and that a list can be leafed through. What is older is reached by time.
CAP = 1_000


def format_count(number: int) -> str:
    return f"{CAP:,}+" if number > CAP else f"{number:,}"


def count_capped(querysets: Mapping[str, QuerySet[WorkflowRun]]) -> dict[str, int]:
    """How many runs each of the querysets has, ``CAP + 1`` for more: one statement for all of them."""
    counts = dict.fromkeys(querysets, 0)
    parts, parameters = [], []
    for name, queryset in querysets.items():
        try:
            # The order makes it the index of the list that is walked, and these two columns are all it takes of it.
            sql, its = compile_query(queryset.order_by("-created_at").values("status")[: CAP + 1])
        except EmptyResultSet:
            continue
        parts.append(f"SELECT %s::text, count(*) FROM ({sql}) AS few")  # noqa: S608 # what Django compiled
        parameters += [name, *its]
    if parts:
        (using,) = {queryset.db for queryset in querysets.values()}
        with connections[using].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), parameters)
            counts.update(dict(cursor.fetchall()))
    return counts


def first_of_each_status(
    queryset: QuerySet[WorkflowRun], ordering: Sequence[str], stop: int
) -> QuerySet[WorkflowRun, Any]:
    """The first ``stop`` runs of each status, all in one order: among them are the first ``stop`` of the queryset.

    For the runs of one workflow: the index that knows workflows has them by status and then by time, so this reads a
    few rows in eight places, where one walk along all runs could be long before it met the workflow's first.
    """
    first, *others = (queryset.filter(status=status).order_by(*ordering)[:stop] for status in WorkflowRunStatus.values)
    return first.union(*others, all=True).order_by(*ordering)


def compile_query(queryset: QuerySet[Any, Any]) -> tuple[str, Sequence[Any]]:
    """The statement of a queryset and its parameters. Raises EmptyResultSet for one that can have no rows."""
    sql, parameters = queryset.query.get_compiler(queryset.db).as_sql()
    return sql, parameters
