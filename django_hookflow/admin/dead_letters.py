"""Dead letters: the list, one failure with its traceback, and replaying them where the runtime can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.text import Truncator

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter
from django_hookflow.admin.display import cut_traceback, show_row, shown_columns
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import DeadLetterEntry, WorkflowEvent

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

#: Steps that a page names, from the beginning.
MAX_STEPS = 200


@admin.register(DeadLetterEntry)
class DeadLetterEntryAdmin(ReadOnlyAdmin):
    list_display = ("run_id", "workflow_id", "step_id", "error", "attempt_count", "created_at", "is_replayed")
    list_filter = ("is_replayed", WorkflowFilter, "created_at")
    ordering = ("-created_at",)
    actions = ("replay_selected",) if hasattr(DeadLetterEntry, "replay") else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterEntry]:
        return super().get_queryset(request).defer("payload")

    @admin.display(description="error", ordering="error_message")
    def error(self, entry: DeadLetterEntry) -> str:
        return Truncator(entry.error_message).chars(100)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Replaying changes the run, so it takes the change permission, although nothing here can be edited."""
        return bool(request.user.has_perm("django_hookflow.change_deadletterentry"))

    @admin.action(description="Replay selected dead letters", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[DeadLetterEntry]) -> None:
        for entry in queryset:
            try:
                run_id = entry.replay()  # type: ignore[attr-defined]
            except HookFlowException as refusal:
                self.message_user(request, f"{entry}: {refusal}", messages.ERROR)
            else:
                self.message_user(request, f"{entry}: replayed as {run_id}", messages.SUCCESS)

    def describe(self, request: HttpRequest, obj: DeadLetterEntry) -> dict[str, Any]:
        columns = shown_columns("payload")
        row = DeadLetterEntry.objects.filter(pk=obj.pk).annotate(**columns).values(*columns).first()
        return {
            "entry": obj,
            "payload": show_row(row, "payload") if row else None,
            "traceback": cut_traceback(obj.error_traceback),
            "completed_steps": completed_step_ids(obj),
            "may_see_run": request.user.has_perm("django_hookflow.view_workflowrun"),
        }


def completed_step_ids(entry: DeadLetterEntry) -> list[str]:
    """The steps that had completed when the run failed, in that order, without their results."""
    happened = (
        WorkflowEvent.objects.filter(
            workflow_run_id=entry.run_uid, seq__lt=entry.seq, type__in=["step.completed", "step.superseded"]
        )
        .order_by("seq")
        .values_list("step_id", "type")
    )
    last_words = dict(happened[:MAX_STEPS])
    completed = [step_id or "" for step_id, last_word in last_words.items() if last_word == "step.completed"]
    return [*completed, "…"] if len(last_words) == MAX_STEPS else completed
