"""Workflow runs: the list, and one run with its steps and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter
from django_hookflow.admin.display import Section, cut_section, cut_traceback, format_duration, show_row, shown_columns
from django_hookflow.models import DeadLetterEntry, WorkflowRun

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

STEPS_PER_PAGE = 100
EVENTS_PER_PAGE = 200


@admin.register(WorkflowRun)
class WorkflowRunAdmin(ReadOnlyAdmin):
    list_display = ("run_id", "workflow_id", "status_badge", "created_at", "duration")
    list_filter = ("status", WorkflowFilter, "created_at")
    ordering = ("-created_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkflowRun]:
        return super().get_queryset(request).defer("data", "result")  # neither page shows all of them

    @admin.display(description="status", ordering="status")
    def status_badge(self, run: WorkflowRun) -> str:
        return format_html('<span class="hookflow-status hookflow-{}">{}</span>', run.status, run.get_status_display())

    @admin.display(description="duration")
    def duration(self, run: WorkflowRun) -> str:
        return format_duration(run.completed_at - run.created_at if run.completed_at else None)

    def describe(self, request: HttpRequest, obj: WorkflowRun) -> dict[str, Any]:
        failure = find_failure(obj)
        return {
            "run": obj,
            "status_badge": self.status_badge(obj),
            "duration": self.duration(obj),
            "steps": steps_of(request, obj),
            "events": events_of(request, obj),
            "failure": failure,
            "traceback": cut_traceback(failure.error_traceback) if failure else "",
            "may_see_failure": request.user.has_perm("django_hookflow.view_deadletterentry"),
            **values_of(obj),
        }


def values_of(run: WorkflowRun) -> dict[str, Any]:
    """What the run was started with and what it returned, as far as they are shown."""
    columns = {**shown_columns("data"), **shown_columns("result")}
    row = WorkflowRun.objects.filter(pk=run.pk).annotate(**columns).values(*columns).first()
    return {name: show_row(row, name) if row else None for name in ("data", "result")}


def find_failure(run: WorkflowRun) -> DeadLetterEntry | None:
    """The latest dead letter of a run that stands failed."""
    if run.status != "failed":
        return None
    return DeadLetterEntry.objects.filter(run_uid=run.pk).order_by("-seq").defer("payload").first()


def steps_of(request: HttpRequest, run: WorkflowRun) -> Section:
    columns = shown_columns("result")
    rows = run.step_executions.order_by("seq").annotate(**columns)
    names = ("seq", "step_id", "kind", "attempts", "executed_at", *columns)
    return cut_section(request, "steps", rows.values(*names), STEPS_PER_PAGE, "result")


def events_of(request: HttpRequest, run: WorkflowRun) -> Section:
    columns = shown_columns("payload")
    rows = run.events.order_by("seq").annotate(**columns)
    names = ("seq", "type", "step_id", "actor", "recorded_at", "payload_digest", *columns)
    return cut_section(request, "events", rows.values(*names), EVENTS_PER_PAGE, "payload")
