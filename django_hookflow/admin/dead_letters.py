"""Dead letters: the list of open ones, one failure with its traceback, and replaying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.text import Truncator

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter, may_see_payloads
from django_hookflow.admin.display import cut_traceback, show_row, shown_columns
from django_hookflow.admin.filters import TimeFilter
from django_hookflow.admin.operating import may_operate
from django_hookflow.admin.operating_many import many_at_once
from django_hookflow.admin.operations import OPERATIONS
from django_hookflow.admin.run_page import WITHHELD
from django_hookflow.events.database import cursor
from django_hookflow.models import DeadLetterEntry
from django_hookflow.sql import load

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest

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


class ReplayOfMany:
    """Replaying dead letters, each as one of many."""

    name = "replay_selected"
    verb = "Replay"
    rows = "dead letters"
    what_happens = OPERATIONS["replay"].what_happens_to_many

    def do(self, row: DeadLetterEntry, reason: str, actor: str, asked: datetime.datetime) -> bool:
        """The log keeps every request; what was replayed before is not replayed again."""
        was_replayed = row.is_replayed
        row.replay(reason=reason, actor=actor)
        return not was_replayed


@admin.register(DeadLetterEntry)
class DeadLetterEntryAdmin(ReadOnlyAdmin):
    list_display = ("run_id", "workflow_id", "step_id", "error", "attempt_count", "created_at", "is_replayed")
    list_filter = (StateFilter, WorkflowFilter, TimeFilter)
    ordering = ("-created_at",)
    actions = (many_at_once(ReplayOfMany()),)

    class Media:
        css = {"all": ["django_hookflow/list.css"]}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what the page offers: payloads and errors are not to be guessed at by ``?payload__…__startswith=``."""
        return lookup in {"state", "workflow", *TimeFilter.parameters}

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterEntry]:
        return super().get_queryset(request).defer("payload")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        sees = may_see_payloads(request)
        return [name if sees or name != "error" else "withheld_error" for name in self.list_display]

    @admin.display(description="error", ordering="error_type")
    def error(self, entry: DeadLetterEntry) -> str:
        """Its class, which is a fact, and its message, as far as that has not been redacted."""
        name = entry.error_type.rpartition(".")[2]
        return Truncator(": ".join(filter(None, (name, entry.error_message)))).chars(100)

    @admin.display(description="error", ordering="error_type")
    def withheld_error(self, entry: DeadLetterEntry) -> str:
        return f"{entry.error_type.rpartition('.')[2]}: withheld"

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return may_operate(request)

    def describe(self, request: HttpRequest, obj: DeadLetterEntry) -> dict[str, Any]:
        sees = may_see_payloads(request)
        columns = shown_columns("payload")
        row = DeadLetterEntry.objects.filter(pk=obj.pk).annotate(**columns).values(*columns).first() if sees else None
        return {
            "entry": obj,
            "sees_payloads": sees,
            "withheld": WITHHELD,
            "payload": show_row(row, "payload") if row else None,
            "traceback": cut_traceback(obj.error_traceback),
            "completed_steps": completed_step_ids(obj),
            "may_see_run": request.user.has_perm("django_hookflow.view_workflowrun"),
        }


def completed_step_ids(entry: DeadLetterEntry) -> list[str]:
    """The steps that had completed when the run failed, in that order, without their results."""
    with cursor() as c:
        c.execute(load("page_completed_steps"), {"run_uid": entry.run_uid, "seq": entry.seq, "limit": MAX_STEPS + 1})
        completed = [step_id for (step_id,) in c.fetchall()]
    return [*completed[:MAX_STEPS], "…"] if len(completed) > MAX_STEPS else completed
