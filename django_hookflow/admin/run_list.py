"""The list of runs: its columns, and what a request may narrow it down by. How it is read is in :mod:`.listing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter
from django_hookflow.admin.filters import TimeFilter
from django_hookflow.admin.listing import STATUS, RunChangeList
from django_hookflow.admin.search import find
from django_hookflow.admin.status import status_badge
from django_hookflow.durations import format_duration
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    import datetime

    from django.contrib.admin.views.main import ChangeList
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_hookflow.admin.listing import ShownRun

    class ListedRun(WorkflowRun):
        """A run as a row of the list."""

        shown: ShownRun


#: What a link may filter by, beside the filters. Anything else could ask what payloads hold, or read the whole table.
LOOKUPS = {STATUS, "workflow_id", "workflow_id__exact", "run_id", "run_id__exact", "id", "id__exact"}


class RunList(ReadOnlyAdmin):
    list_display = ("run", "workflow", "status_badge", "last_steps", "created", "duration")
    list_filter = (WorkflowFilter, TimeFilter)
    sortable_by = ("created",)
    ordering = ("-created_at",)
    empty_value_display = "–"
    search_help_text = (
        "A run id or a label, or how one begins; step:charge for runs that step has been at work in; message:msg_… for "
        "the run a message was for."
    )

    class Media:
        css = {"all": ["django_hookflow/list.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkflowRun]:
        return super().get_queryset(request).defer("data", "result")  # neither page shows all of them

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return RunChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in LOOKUPS or lookup in {"workflow", *TimeFilter.parameters}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The list searches by itself, see :mod:`.listing`; this is for whatever else of Django's asks."""
        term = search_term.strip()
        return (queryset.filter(pk__in=find(term, queryset.db).run_uids) if term else queryset), False

    @admin.display(description="run")
    def run(self, run: WorkflowRun) -> str:
        """Its id, and what people know it by."""
        if not run.label:
            return run.run_id
        return format_html('{} <span class="hookflow-label">{}</span>', run.run_id, run.label)

    @admin.display(description="workflow")
    def workflow(self, run: WorkflowRun) -> str:
        return run.workflow_id

    @admin.display(description="status")
    def status_badge(self, run: ListedRun) -> str:
        shown = run.shown
        if shown.wakes_at is None and shown.waits_for is None:
            return status_badge(run)
        named = "" if shown.waits_for is None else f" for {shown.waits_for}"
        until = "" if shown.wakes_at is None else format_html(" until {}", shown_time(shown.wakes_at, today="%H:%M:%S"))
        return format_html('{} <span class="hookflow-wakes">waits{}{}</span>', status_badge(run), named, until)

    @admin.display(description="last steps")
    def last_steps(self, run: ListedRun) -> str:
        return run.shown.last_steps

    @admin.display(description="created", ordering="created_at")
    def created(self, run: WorkflowRun) -> str:
        return shown_time(run.created_at)

    @admin.display(description="duration")
    def duration(self, run: WorkflowRun) -> str:
        return format_duration((run.completed_at - run.created_at).total_seconds()) if run.completed_at else "–"


def shown_time(moment: datetime.datetime, today: str = "") -> str:
    """``today`` is how a moment of this day is written, where that is shorter."""
    local = timezone.localtime(moment)
    written = today if today and local.date() == timezone.localdate() else "%Y-%m-%d %H:%M:%S"
    return format_html('<time datetime="{}">{}</time>', local.isoformat(), local.strftime(written))
