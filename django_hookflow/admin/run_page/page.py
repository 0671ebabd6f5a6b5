"""The page of one run: what it is doing, what failed, where the time went, and its events.

The address has what is shown: ``as_of`` an event or a time, on a ``scale=linear``, the steps from number ``steps`` on, the events
around ``seq``, or after or before one, filtered by ``type`` and ``step``. So every view of a run is a link, and all of it
works without JavaScript. With it, the page asks for the same address with ``fragment=1`` and replaces what has changed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseBadRequest
from django.template.response import TemplateResponse
from django.urls import path

from django_hookflow.admin.base import ReadOnlyAdmin, admin_url, may_see_payloads
from django_hookflow.admin.operating.pages import operations_for
from django_hookflow.admin.operating.starting import may_start
from django_hookflow.admin.run_page.as_of_choice import choose, times_of_events
from django_hookflow.admin.run_page.children import children_by_step, children_of
from django_hookflow.admin.run_page.download import download
from django_hookflow.admin.run_page.event_log import FAMILIES, Choice, number, read_window
from django_hookflow.admin.run_page.integrity import examine
from django_hookflow.admin.run_page.run_state import RunState, read_state, relatives_of
from django_hookflow.admin.run_page.run_values import Value, failure_of, results_of, values_of
from django_hookflow.admin.run_page.waterfall import LINES_PER_PAGE, Waterfall, draw
from django_hookflow.admin.status import status_badge
from django_hookflow.admin.subject import shown_subjects
from django_hookflow.durations import format_duration
from django_hookflow.events.types import CHILD, RUN_TRIGGERED
from django_hookflow.models import DeadLetterEntry, WorkflowRun

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import URLPattern

#: What of an address makes up a view. The rest, such as the filters of the list one came from, is kept by the admin.
SHOWN_BY = ("as_of", "scale", "steps")
#: Of what people have done to a run, the latest are shown.
ACTS_SHOWN = 5
WITHHELD = "Hidden: you need the permission “Can see the payloads of workflow runs”."


class RunPage(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        name = "django_hookflow_workflowrun_download"
        return [
            path("<uuid:run_uid>/events.json", self.admin_site.admin_view(self.download_view), name=name),
            *super().get_urls(),
        ]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """By its key, or by the id that people know: as the address has it, which the admin reads in a way of its own."""
        if found := super().get_object(request, object_id, from_field):
            return found
        match = request.resolver_match
        names = [object_id, str(match.kwargs.get("object_id", "")) if match else ""]
        return self.get_queryset(request).filter(run_id__in=[name for name in names if "\0" not in name]).first()

    def download_view(self, request: HttpRequest, run_uid: Any) -> HttpResponse | StreamingHttpResponse:
        run = self.get_object(request, str(run_uid))
        if run is None:
            raise Http404
        if not self.has_view_permission(request, run) or not may_see_payloads(request):
            raise PermissionDenied
        asked = choose(run, request.GET.get("as_of", ""))
        if asked.problem:
            return HttpResponseBadRequest(asked.problem, content_type="text/plain; charset=utf-8")
        return download(run, read_state(run, asked.seq).until)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if "fragment" not in request.GET:
            response = super().render_change_form(request, context, add, change, form_url, obj)
            if context.get("problem"):
                response.status_code = 400
            return response
        context = {**self.admin_site.each_context(request), "opts": self.opts, **self.describe(request, obj)}
        return TemplateResponse(request, "django_hookflow/admin/run/page.html", context)

    def describe(self, request: HttpRequest, obj: WorkflowRun) -> dict[str, Any]:
        asked = choose(obj, request.GET.get("as_of", ""))
        heading = {"title": f"Run {obj.run_id}", "subtitle": None, "asked_as_of": request.GET.get("as_of", "")[:80]}
        if asked.problem:
            return {**heading, "problem": asked.problem, "run": obj, "current": query_of(request, as_of=None)}
        state = read_state(obj, asked.seq, asked.moment)
        sees = may_see_payloads(request)
        return {
            **heading,
            "times": json.dumps(times_of_events(obj, state.last_seq), separators=(",", ":")),
            "moment": asked.moment,
            "sees_payloads": sees,
            "withheld": WITHHELD,
            **describe_head(request, self.admin_site, obj, state),
            **describe_values(state, obj, sees=sees),
            **describe_waterfall(request, state, obj, sees=sees),
            **describe_log(request, state, obj, sees=sees),
            "findings": examine(obj.run_id, state.last_seq) if "integrity" in request.GET else None,
        }


def describe_head(request: HttpRequest, site: AdminSite, run: WorkflowRun, state: RunState) -> dict[str, Any]:
    trigger = state.story.mark(RUN_TRIGGERED)
    return {
        "run": state.run,
        "wakes_at": state.run.wake_at,
        "state": state,
        "status_badge": status_badge(state.run),
        "duration": format_duration(state.story.seconds(state.present.now)),
        "triggered_by": trigger.actor if trigger else "",
        "acts": [mark for mark in state.story.marks if mark.type != RUN_TRIGGERED][-ACTS_SHOWN:],
        "relatives": relatives_of(run.run_id, state.story),
        "children": children_of(run),
        "subjects": shown_subjects(request, site, run.subjects),
        **(describe_actions(request, run) if state.as_of is None else {}),
        "here": query_of(request),
        "current": query_of(request, as_of=None),
        "steps_back": steps_back(request, state),
    }


def describe_actions(request: HttpRequest, run: WorkflowRun) -> dict[str, Any]:
    """What can be done, and which of it is most likely what somebody has come for: what needs doing, if anything does."""
    operations = operations_of(request, run)
    offered = [operation["name"] for operation in operations["offered"]]
    likely = next((name for name in ("resolve", "replay", "resume", "wake") if name in offered), "")
    start = admin_url(request, "workflowrun_start_like", run.pk) if may_start(request) else ""
    return {"operations": operations, "primary": likely, "start_like": start}


def operations_of(request: HttpRequest, run: WorkflowRun) -> dict[str, list[Any]]:
    """What can be done to the run, and what cannot, with the reason."""
    offered = operations_for(request, run)
    legal = [operation for operation in offered if not operation["reason_not"]]
    return {
        "offered": legal,
        "refused": [operation for operation in offered if operation["reason_not"]],
        "rewind": [operation for operation in legal if operation["name"] == "rewind"],
    }


def describe_values(state: RunState, run: WorkflowRun, *, sees: bool) -> dict[str, Any]:
    failure = failure_of(state.story)
    data, result = Value(None), Value(None)
    if sees and not state.is_archived:
        data, result = values_of(run.pk, state.until, is_completed=state.run.status == "completed")
    entry = None
    if failure is not None and failure.is_final and state.as_of is None:
        entry = DeadLetterEntry.objects.filter(run_uid=run.pk, seq=failure.seq).values_list("pk", flat=True).first()
    place = place_of(state) if failure is not None and failure.step_id else None
    return {
        "failure": failure,
        "failed_place": None if place is None else place + 1,
        "failed_part": first_shown(state) + 1,
        "dead_letter": entry,
        "data": data,
        "result": result,
    }


def describe_waterfall(request: HttpRequest, state: RunState, run: WorkflowRun, *, sees: bool) -> dict[str, Any]:
    asked = number(request.GET.get("steps"))
    first = first_shown(state) if asked is None else asked - 1
    waterfall = draw(
        state.story,
        state.present.now,
        is_living=state.is_living,
        is_linear=request.GET.get("scale") == "linear",
        first=first,
    )
    results = results_of(run.pk, seqs_of_results(waterfall)) if sees else {}
    children = children_by_step(run, [line.name for line in waterfall.lines if line.row and line.row.kind == CHILD])
    return {
        "waterfall": waterfall,
        "rows": [
            (line, results.get(line.row.seq), children.get(line.name)) if line.row else (line, None, None)
            for line in waterfall.lines
        ],
        "scale_link": query_of(request, scale=None if waterfall.is_linear else "linear"),
        "earlier_steps": query_of(request, steps=waterfall.previous) if waterfall.previous else "",
        "later_steps": query_of(request, steps=waterfall.next) if waterfall.next else "",
    }


def first_shown(state: RunState) -> int:
    """Where the steps begin that a page shows if no others are asked for: in the part with the one at which the run stands."""
    place = place_of(state)
    return 0 if place is None else place // LINES_PER_PAGE * LINES_PER_PAGE


def place_of(state: RunState) -> int | None:
    """Which of the steps the run stands at, from 0: the one that failed, or that is under way."""
    failure, current = failure_of(state.story), state.story.current
    step_id = failure.step_id if failure is not None else current.step_id if current is not None else None
    row = state.story.row(step_id)
    return next((place for place, each in enumerate(state.story.rows) if each is row), None)


def seqs_of_results(waterfall: Waterfall) -> list[int]:
    """The events in which stands what the steps that are shown returned; a sleep returns nothing."""
    rows = [line.row for line in waterfall.lines if line.row is not None]
    return [row.seq for row in rows if row.state == "completed" and row.kind != "sleep"]


def describe_log(request: HttpRequest, state: RunState, run: WorkflowRun, *, sees: bool) -> dict[str, Any]:
    choice = Choice.of(request.GET)
    return {
        "log": read_window(run.pk, choice, state.until, payloads=sees),
        "families": FAMILIES.items(),
        "view": query_of(request),
    }


def query_of(request: HttpRequest, **changes: Any) -> str:
    """The address of the same view with changes; None leaves a part out. The filters of the log stay where they are."""
    shown = {name: request.GET[name][:80] for name in SHOWN_BY if request.GET.get(name)}
    shown |= {name: str(value) for name, value in changes.items() if value is not None}
    return urlencode({name: value for name, value in shown.items() if changes.get(name, value) is not None})


def steps_back(request: HttpRequest, state: RunState) -> dict[str, str]:
    """Links to the run as of the first event, the one before, the one after and the last one."""
    at, last = state.until, state.last_seq
    links = {}
    if at > 1:
        links = {"first": query_of(request, as_of=1), "previous": query_of(request, as_of=at - 1)}
    if at < last:
        after = at + 1 if at + 1 < last else None
        links |= {"next": query_of(request, as_of=after), "last": query_of(request, as_of=None)}
    return links
