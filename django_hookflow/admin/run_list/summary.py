"""What the runs of a time come to, for each workflow: how many, how many failed, how long they took.

The newest :data:`SAMPLE` runs of the time are looked at. Where there are more the page calls them a sample,
and rates are by the time that the sample covers.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet
from django.db import connections

from django_hookflow.admin.counts import compile_query, first_of_each_status
from django_hookflow.durations import format_duration
from django_hookflow.sql import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from django_hookflow.models import WorkflowRun

SAMPLE = 5_000
#: Workflows that are shown.
SHOWN = 5
COLUMNS = ("workflow_id", "status", "created_at", "completed_at")


@dataclass(frozen=True)
class Line:
    """One workflow; ``ended`` are runs that completed or failed, durations are those of completed ones, in seconds."""

    workflow_id: str
    started: int
    failed: int
    ended: int
    median: float | None
    slow: float | None
    hours: float

    @property
    def started_shown(self) -> str:
        return f"{self.started:,}"

    @property
    def per_hour(self) -> str:
        rate = self.started / self.hours
        if rate < 0.1:
            return f"{rate:.2f}" if rate >= 0.01 else "< 0.01"
        return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"

    @property
    def failure_rate(self) -> str:
        if not self.ended:
            return "–"
        percent = 100 * self.failed / self.ended
        return f"{percent:.1f} %" if 0 < percent < 10 else f"{percent:.0f} %"

    @property
    def median_shown(self) -> str:
        return shown_seconds(self.median)

    @property
    def slow_shown(self) -> str:
        return shown_seconds(self.slow)


@dataclass(frozen=True)
class Summary:
    since: datetime.datetime
    until: datetime.datetime
    lines: list[Line]
    is_sample: bool

    @property
    def shown(self) -> list[Line]:
        return self.lines[:SHOWN]

    @property
    def left_out(self) -> int:
        return len(self.lines[SHOWN:])

    @property
    def failed(self) -> str:
        number, ended = sum(line.failed for line in self.lines), sum(line.ended for line in self.lines)
        return f"{number:,} failed ({100 * number / ended:.0f} %)" if number else "none failed"

    @property
    def runs(self) -> str:
        number = sum(line.started for line in self.lines)
        return f"{number:,} run{'' if number == 1 else 's'}"


def summarise(
    queryset: QuerySet[WorkflowRun], since: datetime.datetime, until: datetime.datetime, *, one_workflow: bool
) -> Summary:
    """The runs of ``queryset`` created between the two; ``one_workflow``: all of them are of one."""
    within = queryset.filter(created_at__gte=since, created_at__lte=until).order_by("-created_at").values(*COLUMNS)
    newest = first_of_each_status(within, ["-created_at"], SAMPLE) if one_workflow else within
    try:
        sql, parameters = compile_query(newest[:SAMPLE])
    except EmptyResultSet:
        return Summary(since, until, [], is_sample=False)
    with connections[queryset.db].cursor() as cursor:
        cursor.execute(load("list_summary").replace("{sample}", sql), parameters)
        rows: list[Any] = cursor.fetchall()
    is_sample = sum(row[1] for row in rows) >= SAMPLE
    begin = min(row[5] for row in rows) if is_sample else since
    hours = max((until - begin).total_seconds(), 1.0) / 3600
    return Summary(begin, until, [line_of(row, hours) for row in rows], is_sample)


def line_of(row: Sequence[Any], hours: float) -> Line:
    workflow_id, started, failed, ended, durations, _ = row
    median, slow = durations or (None, None)
    return Line(workflow_id, started, failed, ended, median, slow, hours)


def shown_seconds(seconds: float | None) -> str:
    return "–" if seconds is None else format_duration(float(seconds))
