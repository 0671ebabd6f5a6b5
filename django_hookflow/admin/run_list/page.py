"""The list of runs: its columns, and what a request may narrow it down by. How it is read is in :mod:`.listing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter, may_see_payloads
from django_hookflow.admin.display import breakable, in_this_zone, shown_time
from django_hookflow.admin.failures.errors import show_error
from django_hookflow.admin.filters import TimeFilter
from django_hookflow.admin.run_list.listing import STATUS, RunChangeList
from django_hookflow.admin.run_list.search import find
from django_hookflow.admin.status import status_badge
from django_hookflow.admin.subject import SubjectFilter
from django_hookflow.durations import format_duration
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_hookflow.admin.run_list.listing import ShownRun

    class ListedRun(WorkflowRun):
        """A run as a row of the list."""

        shown: ShownRun


#: What a link may filter by, beside the filters. Anything else could ask what payloads hold, or read the whole table.
LOOKUPS = {STATUS, "workflow_id", "workflow_id__exact", "run_id", "run_id__exact", "id", "id__exact"}


class RunList(ReadOnlyAdmin):
    list_display = ("run", "workflow", "status_badge", "last_steps", "created", "duration")
    list_filter = (WorkflowFilter, TimeFilter, SubjectFilter)
    sortable_by = ("created",)
    ordering = ("-created_at",)
    empty_value_display = "–"
    search_help_text = (
        "A run id or a label, or the beginning of one. Also: step:charge, error:CardDeclined, label:…, message:msg_…, "
        'data.customer.name:"Grace Hopper", result.total:17.'
    )

    class Media:
        css = {"all": ["django_hookflow/list.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkflowRun]:
        return super().get_queryset(request).defer("data", "result")  # neither page shows all of them

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return RunChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in LOOKUPS or lookup in {"workflow", "subject", *TimeFilter.parameters}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The list searches by itself, see :mod:`.listing`; this is for whatever else of Django's asks."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = find(term, queryset, sees_payloads=may_see_payloads(request))
        return queryset.filter(pk__in=found.run_uids), False

    @admin.display(description="run")
    def run(self, run: WorkflowRun) -> str:
        """Its id, and what people know it by."""
        label = format_html(' <span class="hookflow-label">{}</span>', run.label) if run.label else ""
        return format_html("{}{}", run.run_id, label)

    @admin.display(description="workflow")
    def workflow(self, run: WorkflowRun) -> str:
        return breakable(run.workflow_id)

    @admin.display(description="status")
    def status_badge(self, run: ListedRun) -> str:
        """How it stands and why: what it waits for, what keeps it, how it failed."""
        return format_html("{}{}", status_badge(run), why_it_stands_so(run))

    @admin.display(description="steps")
    def last_steps(self, run: ListedRun) -> str:
        return run.shown.last_steps

    @admin.display(description=in_this_zone("created"), ordering="created_at")
    def created(self, run: WorkflowRun) -> str:
        return shown_time(run.created_at)

    @admin.display(description="duration")
    def duration(self, run: WorkflowRun) -> str:
        return format_duration((run.completed_at - run.created_at).total_seconds()) if run.completed_at else "–"


def why_it_stands_so(run: ListedRun) -> SafeString:
    if run.shown.why_stuck:
        return format_html(' <span class="hookflow-why hookflow-stuck">{}</span>', run.shown.why_stuck)
    if run.shown.starts_at is not None:
        starts = shown_time(run.shown.starts_at, today="%H:%M:%S")
        return format_html(' <span class="hookflow-wakes">starts at {}</span>', starts)
    if run.shown.wakes_at is not None or run.shown.waits_for:
        named = f" for {run.shown.waits_for}" if run.shown.waits_for else ""
        wakes = run.shown.wakes_at
        until = "" if wakes is None else format_html(" until {}", shown_time(wakes, today="%H:%M:%S"))
        return format_html(' <span class="hookflow-wakes">waits{}{}</span>', named, until)
    if run.error_type or run.error_message:
        return format_html(" {}", show_error(run.error_type, run.error_message if run.shown.shows_message else None))
    return SafeString()
