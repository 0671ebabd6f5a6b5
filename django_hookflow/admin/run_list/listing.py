"""The list of runs as one request has asked for it: its tabs, the rows of its page, and what leads on from there.

Nothing here takes longer because there are more runs. Counts stop at :data:`~.counts.CAP` and so does leafing: from its
last page a link leads to older runs, by time. Searches and the tab of stuck runs first find at most so many ids along an
index of their own, and everything else then narrows those; they are put in order here, since a database that is asked
for the newest of a thousand ids may go looking for them through all runs, from the newest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.db import connections
from django.db.models import Min, OuterRef, Q, Subquery

from django_hookflow.admin.base import is_narrowed, may_see_payloads
from django_hookflow.admin.counts import CAP, count_capped, first_of_each_status, format_count
from django_hookflow.admin.failures.cause_links import causes_in_time
from django_hookflow.admin.filters import TimeFilter, database_time
from django_hookflow.admin.run_list.backlog import Backlog, find_backlog, reasons_stuck
from django_hookflow.admin.run_list.emptiness import Empty, explain_empty
from django_hookflow.admin.run_list.search import Found, ask, find, looked_for
from django_hookflow.admin.run_list.sparkline import draw_last_steps
from django_hookflow.admin.run_list.summary import Summary, summarise
from django_hookflow.conf import conf
from django_hookflow.events.types import BACKOFF, CALLBACK, CHILD, DEADLINE, SIGNAL, SLEEP, START
from django_hookflow.models import DeadLetterEntry, Wait, WorkflowRun, WorkflowRunStatus
from django_hookflow.sql import load

if TYPE_CHECKING:
    import datetime
    from uuid import UUID

    from django.db.models import QuerySet
    from django.db.models.expressions import Combinable
    from django.http import HttpRequest

    from django_hookflow.admin.failures.causes import Causes

STATUS, STATE = "status__exact", "state"
#: Announced turns among which stuck ones are looked for.
LOOKED_AT = 20_000

#: Tabs in the order in which somebody on call wants them; the four that are no status are ways of running.
TABS = {
    "": "All",
    "running": "Running",
    "sleeping": "Sleeping",
    "waiting": "Waiting",
    "retrying": "Retrying",
    "stuck": "Stuck",
    "failed": "Failed",
    "in_doubt": "In doubt",
    "diverged": "Diverged",
    "paused": "Paused",
    "pending": "Pending",
    "completed": "Completed",
    "cancelled": "Cancelled",
}
#: Kinds of wait that make a run one that sleeps, waits for somebody or something else, or for its next attempt.
WAITS = {"sleeping": [SLEEP], "waiting": [SIGNAL, CHILD, CALLBACK, START], "retrying": [BACKOFF]}
#: The statuses of the runs of a tab; a run that is to begin later is pending.
WAITING_STATUSES = {"waiting": ("running", "pending")}
STATES = (*WAITS, "stuck")
NEEDS_SOMEBODY = ("stuck", "failed", "in_doubt", "diverged")


@dataclass(frozen=True)
class Tab:
    """``count`` is None where counting would need more than a look."""

    name: str
    title: str
    url: str
    count: int | None
    is_current: bool

    @property
    def count_shown(self) -> str:
        return "" if self.count is None else format_count(self.count)

    @property
    def is_alarming(self) -> bool:
        return bool(self.count) and self.name in NEEDS_SOMEBODY


@dataclass(frozen=True)
class ShownRun:
    """What the row of a run shows that is no column of the run's: each comes by one statement for all of a page."""

    last_steps: str
    why_stuck: str
    shows_message: bool
    wakes_at: datetime.datetime | None = None
    waits_for_signal: str | None = None
    waits_for_run: str | None = None
    starts_at: datetime.datetime | None = None

    @property
    def waits_for(self) -> str:
        if self.waits_for_signal is not None:
            return self.waits_for_signal
        return "" if self.waits_for_run is None else f"run {self.waits_for_run}"


class RunChangeList(ChangeList):
    found: Found | None
    #: All that matches but for the status or state that is chosen.
    of_any_state: QuerySet[WorkflowRun]
    result_list: Any

    def __init__(self, request: HttpRequest, *arguments: Any, **options: Any) -> None:
        self.now = database_time(request)
        self.request = request
        self.sees_payloads = may_see_payloads(request)
        super().__init__(request, *arguments, **options)
        self.title = "Workflow runs"

    # What the list is of.

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Without what the tabs choose, which is no filter of Django's."""
        given = super().get_filters_params(params)
        return {name: value for name, value in given.items() if name not in (STATUS, STATE)}

    def get_queryset(self, request: HttpRequest, *arguments: Any, **options: Any) -> QuerySet[WorkflowRun]:
        query, self.query = self.query, ""  # searched for here and not by Django, to know what was left out
        narrowed: QuerySet[WorkflowRun] = super().get_queryset(request, *arguments, **options)
        self.query = query
        self.found = find(query.strip(), narrowed, sees_payloads=self.sees_payloads) if query.strip() else None
        if self.found is not None:
            narrowed = narrowed.filter(pk__in=self.found.run_uids)
        self.of_any_state = narrowed
        return self.of_tab(self.current_tab)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[WorkflowRun]) -> list[str | Combinable]:
        """By time, backwards or forwards: no other order has an index under every filter."""
        asked = super().get_ordering(request, queryset)
        return ["created_at", "pk"] if asked[0] == "created_at" else ["-created_at", "-pk"]

    @property
    def current_tab(self) -> str:
        return str(self.params.get(STATE) or self.params.get(STATUS) or "")

    def of_tab(self, name: str) -> QuerySet[WorkflowRun]:
        runs = self.of_any_state
        if name == "stuck":
            return runs.filter(pk__in=self.stuck)
        if name in WAITS:
            return self.of_waits(name)
        return runs.filter(status=name) if name else runs

    def of_waits(self, name: str) -> QuerySet[WorkflowRun]:
        """Runs that wait so: found by their waits where those are few; where they are many, most runs have one."""
        runs = self.of_any_state.filter(status__in=WAITING_STATUSES.get(name, ("running",)))
        if (few := self.few_waiting[name]) is not None:
            return runs.filter(pk__in=few)
        # A value that is looked up for each run as the list comes by it. EXISTS may become a join with all waits there are.
        ahead = Q(due_at__gt=self.now) | Q(due_at=None)
        waits = Wait.objects.filter(ahead, run=OuterRef("pk"), kind__in=WAITS[name])
        return runs.alias(waits_for=Subquery(waits.order_by().values("kind")[:1])).filter(waits_for__isnull=False)

    @cached_property
    def few_waiting(self) -> dict[str, list[UUID] | None]:
        """The runs that wait so, by tab; None for a tab with more than a page leads to."""
        tabs = [(tab, kind) for tab, kinds in WAITS.items() for kind in kinds]
        names, kinds = zip(*tabs, strict=True)
        with connections[self.of_any_state.db].cursor() as cursor:
            parameters: dict[str, Any] = {"tabs": list(names), "kinds": list(kinds), "now": self.now, "most": CAP}
            cursor.execute(load("list_waiting"), parameters)
            return dict(cursor.fetchall())

    @property
    def begins_with_ids(self) -> bool:
        """Whether the list is of runs whose ids have been looked up."""
        few = self.current_tab in WAITS and self.few_waiting[self.current_tab] is not None
        return self.found is not None or self.current_tab == "stuck" or few

    @cached_property
    def stuck(self) -> list[UUID]:
        overdue = conf.overdue_seconds
        return ask("list_stuck", self.of_any_state.db, now=self.now, overdue=overdue, looked_at=LOOKED_AT, limit=CAP)

    @property
    def workflow(self) -> str:
        return str(self.params.get("workflow") or "")

    # How many, and which of them are on this page.

    @cached_property
    def few(self) -> list[tuple[UUID, datetime.datetime, str]] | None:
        """Of a list that begins with ids: id, time and status of all that match, but for the tab; else None."""
        if self.found is None:
            return None
        return list(self.of_any_state.order_by().values_list("pk", "created_at", "status"))

    @cached_property
    def counts(self) -> dict[str, int]:
        """By tab; those that are missing would need more than a look."""
        if self.few is not None:
            of_status = Counter(status for _, _, status in self.few)
            return {"": len(self.few), **{status: of_status[status] for status in WorkflowRunStatus.values}}
        # Without a filter all that are stuck are in the list, and need not be looked up to be counted.
        known = {} if self.get_filters_params() else {"stuck": len(self.stuck)}
        known |= count_capped({name: self.of_tab(name) for name in TABS if name and name not in known})
        return {"": sum(known[status] for status in WorkflowRunStatus.values), **known}

    def get_results(self, request: HttpRequest) -> None:
        known = self.counts.get(self.current_tab)
        count = count_capped({"": self.queryset})[""] if known is None else known
        self.is_capped = count > CAP
        self.result_count = min(count, CAP)
        self.show_full_result_count, self.full_result_count = False, None
        self.show_admin_actions = True
        self.can_show_all = self.result_count <= self.list_max_show_all
        self.multi_page = self.result_count > self.list_per_page
        self.paginator = Paginator(range(self.result_count), self.list_per_page)
        self.result_list = self.read_rows(self.places())

    def places(self) -> range:
        """Which of the runs are on this page. Raises IncorrectLookupParameters where there is no such page."""
        if self.show_all and self.can_show_all:
            return range(self.result_count)
        try:
            places: Any = self.paginator.page(self.page_num).object_list
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        return range(places.start, places.stop)

    def read_rows(self, places: range) -> list[WorkflowRun]:
        if not places:
            return []
        ordering = [str(name) for name in self.queryset.query.order_by]
        rows: QuerySet[WorkflowRun, Any] = self.queryset
        if self.begins_with_ids:
            newest_first = ordering[0] != "created_at"
            known = rows.order_by().values_list("created_at", "pk")
            chosen = [uid for _, uid in sorted(known, reverse=newest_first)[places.start : places.stop]]
            runs = sorted(self.root_queryset.filter(pk__in=chosen), key=lambda run: chosen.index(run.pk))
        elif self.workflow and not self.current_tab:
            runs = list(first_of_each_status(rows, ordering, places.stop)[places.start : places.stop])
        else:
            runs = list(rows[places.start : places.stop])
        keys = [run.pk for run in runs]
        pictures = draw_last_steps(keys, self.queryset.db)
        waits = Wait.objects.using(self.queryset.db).filter(run__in=keys).exclude(kind=DEADLINE)
        found = (
            waits.order_by()
            .values_list("run")
            .annotate(
                Min("due_at"),
                signal=Min("key", filter=Q(kind=SIGNAL)),
                child=Min("key", filter=Q(kind=CHILD)),
                starts_at=Min("due_at", filter=Q(kind=START)),
            )
        )
        waiting = {uid: rest for uid, *rest in found}
        going_on = [run.pk for run in runs if run.status in ("pending", "running")]
        stuck = reasons_stuck(going_on, self.now, self.queryset.db)
        for run in runs:
            why = stuck.get(run.pk, ""), self.sees_payloads
            run.shown = ShownRun(pictures.get(run.pk, ""), *why, *waiting.get(run.pk, ()))
        return runs

    # What the page shows around them.

    @property
    def tabs(self) -> list[Tab]:
        return [
            Tab(name, title, self.link_to_tab(name), self.counts.get(name), name == self.current_tab)
            for name, title in TABS.items()
        ]

    def link_to_tab(self, name: str) -> str:
        chosen = {STATE if name in STATES else STATUS: name} if name else {}
        return self.get_query_string(chosen, remove=[STATUS, STATE])

    @property
    def count_shown(self) -> str:
        number = format_count(CAP + 1 if self.is_capped else self.result_count)
        return f"{number} {self.opts.verbose_name if self.result_count == 1 else self.opts.verbose_name_plural}"

    @property
    def tab_title(self) -> str:
        return TABS.get(self.current_tab, self.current_tab)

    @property
    def looked_for(self) -> str:
        return looked_for(self.query.strip())

    @property
    def without_search(self) -> str:
        return self.get_query_string(remove=[SEARCH_VAR])

    @property
    def note(self) -> str:
        """What the list leaves out, in words."""
        if self.found is not None:
            return self.found.note
        if self.current_tab == "stuck" and len(self.stuck) == CAP:
            return f"These are the {CAP:,} that have waited longest for a relay; there may be more."
        return ""

    @property
    def beyond(self) -> dict[str, str] | None:
        """The link that leads on from the last page of a list that stops at the cap."""
        if not self.is_capped or self.page_num != self.paginator.num_pages or not self.result_list:
            return None
        last = self.result_list[-1].created_at.isoformat()
        if self.queryset.query.order_by[0] == "created_at":
            return {"title": "Newer runs", "url": self.get_query_string({"since": last}, remove=["when"])}
        return {"title": "Older runs", "url": self.get_query_string({"until": last})}

    @property
    def time(self) -> TimeFilter:
        (chosen,) = [spec for spec in self.filter_specs if isinstance(spec, TimeFilter)]
        return chosen

    @cached_property
    def backlog(self) -> Backlog | None:
        return None if self.is_popup else find_backlog(self.now, self.root_queryset.db)

    @cached_property
    def causes(self) -> Causes | None:
        """Of the failures that nobody has replayed: above the failed runs, and above what a search for them found."""
        if self.is_popup or self.current_tab != "failed":
            return None
        failures = DeadLetterEntry.objects.using(self.root_queryset.db).filter(is_replayed=False)
        if self.workflow:
            failures = failures.filter(workflow_id=self.workflow)
        if is_narrowed(self.root_queryset):
            failures = failures.filter(run_uid__in=self.root_queryset.values("pk"))
        if self.found is not None:
            failures = failures.filter(run_uid__in=self.found.run_uids)
        return causes_in_time(self, failures, self.time)

    @cached_property
    def empty(self) -> Empty | None:
        return None if self.result_count or self.is_popup else explain_empty(self)

    @cached_property
    def summary(self) -> Summary | None:
        """Of the chosen workflow and time, whatever their status; none beside a search."""
        if self.found is not None or self.is_popup:
            return None
        runs = self.root_queryset.filter(workflow_id=self.workflow) if self.workflow else self.root_queryset
        return summarise(runs, *self.time.span(self.now), one_workflow=bool(self.workflow))

    @property
    def steps_url(self) -> str:
        """The page of steps, narrowed down as the list is; a week where it is not, for there is more to see in it."""
        others = [STATUS, STATE, SEARCH_VAR, "p", "o", "all"]
        time = {} if self.time.since else {"when": "week"}
        return "steps/" + self.get_query_string(time, remove=others)
