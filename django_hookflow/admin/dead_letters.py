"""Dead letters: the list of open ones, one failure with its traceback, and replaying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.utils.text import Truncator

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter
from django_hookflow.admin.display import cut_traceback, show_row, shown_columns
from django_hookflow.models import DeadLetterEntry, WorkflowEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_hookflow.models import DeadLetterQuerySet

#: Steps that a page names, from the beginning.
MAX_STEPS = 200


class StateFilter(admin.SimpleListFilter):
    """Open entries unless others are asked for: what has been replayed needs nobody's attention."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("replayed", "Replayed"), ("all", "All")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": "Open",
        }
        for value, title in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": title,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(is_replayed=self.value() == "replayed")


@admin.register(DeadLetterEntry)
class DeadLetterEntryAdmin(ReadOnlyAdmin):
    list_display = ("run_id", "workflow_id", "step_id", "error", "attempt_count", "created_at", "is_replayed")
    list_filter = (StateFilter, WorkflowFilter, "created_at")
    ordering = ("-created_at",)
    actions = ("replay_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterEntry]:
        return super().get_queryset(request).defer("payload")

    @admin.display(description="error", ordering="error_message")
    def error(self, entry: DeadLetterEntry) -> str:
        return Truncator(entry.error_message).chars(100)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Replaying changes the run, so it takes the change permission, although nothing here can be edited."""
        return bool(request.user.has_perm("django_hookflow.change_deadletterentry"))

    @admin.action(description="Replay selected dead letters", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: DeadLetterQuerySet) -> None:
        for replayed in queryset.replay(actor=request.user.get_username(), reason="replayed in the admin"):
            if replayed.error is None:
                self.message_user(request, f"{replayed.entry}: run {replayed.run_id} goes on", messages.SUCCESS)
            else:
                self.message_user(request, f"{replayed.entry}: {replayed.error}", messages.ERROR)

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
