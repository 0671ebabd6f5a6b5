"""The page of steps: for each workflow how its steps went in a time: how often, with what failures, and how long.

The newest :data:`RUNS` runs of the time are looked at, and no more than so many attempts of theirs, for a few seconds;
what was left out is said. Time is what attempts worked: a sleep, or a wait for the next attempt, is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import EmptyResultSet, PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from django_hookflow.admin.base import ReadOnlyAdmin
from django_hookflow.admin.bounded import TookTooLong, at_most
from django_hookflow.admin.counts import compile_query
from django_hookflow.admin.display import breakable
from django_hookflow.admin.filters import RANGES, TimeFilter, database_time
from django_hookflow.durations import format_duration
from django_hookflow.models import WorkflowRun
from django_hookflow.sql import load

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern
    from django.utils.safestring import SafeString

#: Runs that are looked at, fewer when that took too long; attempts of one run and of all; and seconds.
RUNS, ATTEMPTS_OF_ONE, ATTEMPTS, SECONDS = (5_000, 500), 1_000, 200_000, 4.0
#: Steps that are shown, those first on which the most time was spent, and runs that are named of each, the slowest.
SHOWN, SLOWEST = 100, 3
NAME = "django_hookflow_workflowrun_steps"


@dataclass(frozen=True)
class StepLine:
    workflow_id: str
    step_id: str
    runs: str
    failures: str
    median: str
    slow: str
    total: str
    slowest: list[tuple[UUID, str]]

    @property
    def workflow(self) -> SafeString:
        return breakable(self.workflow_id)

    @property
    def name(self) -> SafeString:
        return breakable(self.step_id)


@dataclass(frozen=True)
class StepTimes:
    """``note`` is what was not looked at."""

    lines: list[StepLine]
    note: str = ""


def read_step_times(runs: Any) -> StepTimes:
    """How the steps of the newest of ``runs`` went."""
    for most in RUNS:
        try:
            newest = runs.order_by("-created_at").values_list("pk", "workflow_id")[:most]
            sql, parameters = compile_query(newest)
            with at_most(SECONDS, runs.db) as cursor:
                limits = [ATTEMPTS_OF_ONE, ATTEMPTS, SLOWEST, SLOWEST, SHOWN]
                cursor.execute(load("list_steps").replace("{runs}", sql), [*parameters, *limits])
                rows: list[Any] = cursor.fetchall()
        except TookTooLong:
            continue
        except EmptyResultSet:
            return StepTimes([])
        return StepTimes([line_of(*row[:9]) for row in rows], note_of(rows, most))
    return StepTimes([], f"Gave up after {SECONDS:g} s: choose one workflow, or a shorter period.")


def note_of(rows: list[Any], most: int) -> str:
    if rows and rows[0][9] >= most:
        return f"Only the newest {most:,} runs of this period are counted. Choose a shorter period or one workflow to see all."
    if rows and rows[0][10] >= ATTEMPTS:
        return f"Of {ATTEMPTS:,} attempts only. Choose a shorter period or one workflow to see all."
    return f"The {SHOWN} steps that took the most time." if len(rows) == SHOWN else ""


def line_of(
    workflow_id: str,
    step_id: str,
    runs: int,
    failed: int,
    attempts: int,
    times: list[float] | None,
    total: float,
    uids: list[UUID],
    slowest: list[float],
) -> StepLine:
    median, slow = times if times and times[0] is not None else (None, None)
    return StepLine(
        workflow_id=workflow_id,
        step_id=step_id,
        runs=f"{runs:,}",
        failures=f"{100 * failed / attempts:.1f} %" if failed else "–",
        median="–" if median is None else format_duration(median),
        slow="–" if slow is None else format_duration(slow),
        total=format_duration(total),
        slowest=[(uid, format_duration(took)) for uid, took in zip(uids, slowest, strict=True)],
    )


class StepTimesPage(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.steps_view)
        return [path("steps/", view, name=NAME), *super().get_urls()]

    def steps_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = {name: value for name, value in request.GET.items() if "\0" not in value}
        try:
            time = TimeFilter(request, {**asked}, WorkflowRun, self)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(request.path)
        since, until = time.span(database_time(request))
        runs = self.get_queryset(request).filter(created_at__gte=since, created_at__lte=until)
        workflow = asked.get("workflow", "")
        if workflow:
            runs = runs.filter(workflow_id=workflow)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Steps of {workflow}" if workflow else "Steps",
            "opts": self.opts,
            "workflow": workflow,
            "since": since,
            "until": until,
            "ranges": [
                (
                    title,
                    f"?{urlencode({'when': when, **({'workflow': workflow} if workflow else {})})}",
                    when == time.when,
                )
                for when, (title, _) in RANGES.items()
            ],
            "all_workflows": f"?{urlencode({name: asked[name] for name in TimeFilter.parameters if name in asked})}",
            "steps": read_step_times(runs),
        }
        return TemplateResponse(request, "admin/django_hookflow/workflowrun/steps.html", context)
