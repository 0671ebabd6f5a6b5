"""Dead letters: the list of open ones, one failure with its traceback, and replaying them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.urls import NoReverseMatch
from django.utils.functional import cached_property

from django_hookflow.admin.base import ReadOnlyAdmin, WorkflowFilter, may_see_payloads
from django_hookflow.admin.display import (
    breakable,
    cut_traceback,
    in_this_zone,
    show_row,
    shown_columns,
    shown_time,
)
from django_hookflow.admin.failures.cause_links import causes_in_time
from django_hookflow.admin.failures.errors import own_message, show_error
from django_hookflow.admin.filters import TimeFilter
from django_hookflow.admin.operating.many import many_at_once
from django_hookflow.admin.operating.operations import OPERATIONS
from django_hookflow.admin.operating.pages import may_operate, operate_url
from django_hookflow.admin.run_list.search import LOOKED_AT, failures_with_error
from django_hookflow.admin.run_page.page import WITHHELD
from django_hookflow.events.database import cursor
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from django_hookflow.sql import load

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_hookflow.admin.failures.causes import Causes

    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

#: Steps that a page names, from the beginning; and dead letters that a list is leafed through.
MAX_STEPS, MAX_LISTED = 200, 10_000


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


class BoundedPaginator(_Paginator):
    """Pages up to so many rows: a million of them are neither counted nor leafed through, but narrowed down.

    Rows of any model, for Django pages the history of a dead letter with it as well.
    """

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by(*rows.model._meta.ordering).values("pk")[:MAX_LISTED].count())


class DeadLetterChangeList(ChangeList):
    """With the causes of the open ones among what the filters leave."""

    def __init__(self, request: HttpRequest, *arguments: Any, **options: Any) -> None:
        self.request = request
        super().__init__(request, *arguments, **options)
        self.title = "Dead letters"

    @cached_property
    def causes(self) -> Causes | None:
        if self.is_popup or self.params.get(StateFilter.parameter_name) == "replayed":
            return None
        (time,) = [spec for spec in self.filter_specs if isinstance(spec, TimeFilter)]
        return causes_in_time(self, self.queryset.filter(is_replayed=False), time)

    @property
    def note(self) -> str:
        if self.query.strip().startswith("error:"):
            return f"Searched for the error in the last {LOOKED_AT // 10:,} failures."
        return f"These are the newest {MAX_LISTED:,}; there may be more." if self.result_count == MAX_LISTED else ""

    @property
    def without_search(self) -> str:
        return self.get_query_string(remove=[SEARCH_VAR])


class ReplayOfMany:
    """Replaying dead letters, each as one of many."""

    name = "replay_selected"
    verb, past = "Replay", "replayed"
    row, rows = "dead letter", "dead letters"
    what_happens = OPERATIONS["replay"].what_happens_to_many

    def do(self, row: DeadLetterEntry, reason: str, actor: str, asked: datetime.datetime) -> bool:
        """The log keeps every request; what was replayed before is not replayed again."""
        was_replayed = row.is_replayed
        row.replay(reason=reason, actor=actor)
        return not was_replayed


@admin.register(DeadLetterEntry)
class DeadLetterEntryAdmin(ReadOnlyAdmin):
    list_display = ("run", "workflow", "step", "error", "attempts", "failed")
    list_filter = (StateFilter, WorkflowFilter, TimeFilter)
    ordering = ("-created_at",)
    sortable_by = ("failed",)
    paginator = BoundedPaginator
    search_help_text = "A run id or the beginning of one; error:CardDeclined; or cause: and the digits of a cause."
    actions = (many_at_once(ReplayOfMany()),)

    class Media:
        css = {"all": ["django_hookflow/list.css"]}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only what the page offers: payloads and errors are not to be guessed at by ``?payload__…__startswith=``."""
        return lookup in {"state", "workflow", *TimeFilter.parameters}

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetterEntry]:
        return super().get_queryset(request).defer("payload")

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return DeadLetterChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By cause all there are, along its index; by error those among the newest; else by run."""
        kind, colon, rest = search_term.strip().partition(":")
        if colon and rest.strip() and kind == "cause":
            return queryset.filter(fingerprint=rest.strip()), False
        if colon and rest.strip() and kind == "error":
            found = failures_with_error(rest.strip(), queryset.db)
            return queryset.filter(pk__in=[key for key, _ in found]), False
        return super().get_search_results(request, queryset, search_term)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        sees = may_see_payloads(request)
        columns = [name if sees or name != "error" else "withheld_error" for name in self.list_display]
        return [*columns, "is_replayed"] if request.GET.get(StateFilter.parameter_name) == "all" else columns

    @admin.display(description="run")
    def run(self, entry: DeadLetterEntry) -> str:
        return entry.run_id

    @admin.display(description="workflow")
    def workflow(self, entry: DeadLetterEntry) -> str:
        return breakable(entry.workflow_id)

    @admin.display(description="step", empty_value="–")
    def step(self, entry: DeadLetterEntry) -> str:
        return breakable(entry.step_id)

    @admin.display(description="attempts")
    def attempts(self, entry: DeadLetterEntry) -> str:
        return f"{entry.attempt_count:,}"

    @admin.display(description=in_this_zone("failed"), ordering="created_at")
    def failed(self, entry: DeadLetterEntry) -> str:
        return shown_time(entry.created_at)

    @admin.display(description="error")
    def error(self, entry: DeadLetterEntry) -> str:
        """Its class, which is a fact, and its message, as far as that has not been redacted."""
        return show_error(entry.error_type, entry.error_message)

    @admin.display(description="error")
    def withheld_error(self, entry: DeadLetterEntry) -> str:
        return show_error(entry.error_type, None)

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
            "message": own_message(obj.error_type, obj.error_message) if sees else "",
            "replay_url": self.replay_url(request, obj),
            "cause_url": f"../../?q=cause:{obj.fingerprint}" if obj.fingerprint else "",
            "may_see_run": request.user.has_perm("django_hookflow.view_workflowrun"),
        }

    def replay_url(self, request: HttpRequest, entry: DeadLetterEntry) -> str:
        """What asks for the reason for replaying it; "" where that is over, not for this user, or not in this admin."""
        may = may_operate(request) and request.user.has_perm("django_hookflow.view_workflowrun")
        run = WorkflowRun.objects.only("id").filter(pk=entry.run_uid).first() if may and not entry.is_replayed else None
        try:
            return operate_url(request, run, "replay") if run else ""
        except NoReverseMatch:
            return ""


def completed_step_ids(entry: DeadLetterEntry) -> list[str]:
    """The steps that had completed when the run failed, in that order, without their results."""
    with cursor() as c:
        c.execute(load("page_completed_steps"), {"run_uid": entry.run_uid, "seq": entry.seq, "limit": MAX_STEPS + 1})
        completed = [step_id for (step_id,) in c.fetchall()]
    return [*completed[:MAX_STEPS], "…"] if len(completed) > MAX_STEPS else completed
