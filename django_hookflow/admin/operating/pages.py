"""Acting on runs from the admin: a page that shows what will happen and asks for a reason, and then it happens.

A GET changes nothing. A POST does it once, however often it is sent: the form carries how much of the log its reader
has seen, and what somebody has done since then is not done again. Each act is an event with the user as actor, a
LogEntry of Django's, and needs the permission ``operate_workflowrun``. What can be done is in :mod:`.operations`; many
runs at once are the business of :mod:`.many`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.html import format_html

from django_hookflow.admin.base import ReadOnlyAdmin, admin_url
from django_hookflow.admin.operating.forms import ReasonForm
from django_hookflow.admin.operating.many import RunAct, many_at_once
from django_hookflow.admin.operating.operations import OPERATIONS, Operation
from django_hookflow.admin.operating.situation import Situation
from django_hookflow.events.database import alias, cursor
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import Head, WorkflowEvent, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse, QueryDict
    from django.urls import URLPattern

PERMISSION = "django_hookflow.operate_workflowrun"
#: The first half of the key of the lock that keeps two requests for one run apart; the second is made from the run.
LOCK = 0x486F6F6B


class Offer(TypedDict):
    """An operation as a page offers it: with a link, or, if ``reason_not`` is not empty, without one and with that."""

    name: str
    label: str
    url: str
    reason_not: str


def may_operate(request: HttpRequest) -> bool:
    return bool(request.user.has_perm(PERMISSION))


def operations_for(request: HttpRequest, run: WorkflowRun) -> list[Offer]:
    """What this user may do to this run now, and why not the rest; nothing for those who may only look."""
    if not may_operate(request):
        return []
    situation = Situation(run)
    return [
        {
            "name": name,
            "label": operation.label,
            "url": operate_url(request, run, name),
            "reason_not": operation.why_not(situation),
        }
        for name, operation in OPERATIONS.items()
    ]


def operate_url(request: HttpRequest, run: WorkflowRun, name: str) -> str:
    return admin_url(request, "workflowrun_operate", run.pk, name)


class RunOperations(ReadOnlyAdmin):
    actions = [many_at_once(RunAct(OPERATIONS[name])) for name in ("cancel", "pause", "resume", "wake", "replay")]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return may_operate(request)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.operate_view)
        route = path("<path:object_id>/operate/<slug:name>/", view, name="django_hookflow_workflowrun_operate")
        return [route, *super().get_urls()]

    def operate_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        run = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, run) or not self.has_operate_permission(request):
            raise PermissionDenied
        operation = OPERATIONS.get(name)
        if operation is None or run is None:
            raise Http404(f"There is no operation {name} on a run {object_id}.")
        if request.method == "POST":
            return self._act(request, operation, run)
        situation = Situation(run)
        form = operation.form(situation, initial={"step": request.GET.get("step"), "seen": last_seq_of(run)})
        return self._confirm(request, operation, situation, form)

    def _act(self, request: HttpRequest, operation: Operation, run: WorkflowRun) -> HttpResponse:
        with one_at_a_time(run):
            situation = Situation(self.get_queryset(request).get(pk=run.pk))
            form = operation.form(situation, request.POST)
            if done := find_since(run, operation, request.POST):
                self._repeat(request, operation, situation, form, done)
            elif why_not := operation.why_not(situation):
                self.message_user(request, f"Nothing was done. {why_not}", messages.WARNING)
            elif not form.is_valid():
                return self._confirm(request, operation, situation, form)
            else:
                self._carry_out(request, operation, situation, form)
        return HttpResponseRedirect(run_url(request, run))

    def _confirm(
        self, request: HttpRequest, operation: Operation, situation: Situation, form: ReasonForm
    ) -> HttpResponse:
        form.prepare()
        why_not = operation.why_not(situation)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{operation.label}: run {situation.run.run_id}",
            "opts": self.opts,
            "run": situation.run,
            "run_url": run_url(request, situation.run),
            "operation": operation,
            "why_not": why_not,
            "what_happens": "" if why_not else operation.describe(situation),
            "form": form,
        }
        return TemplateResponse(request, "admin/django_hookflow/operate.html", context)

    def _carry_out(self, request: HttpRequest, operation: Operation, situation: Situation, form: ReasonForm) -> None:
        try:
            applied = operation.carry_out(situation, form.given_reason, form.cleaned_data, request.user.get_username())
        except HookFlowException as error:
            self.message_user(request, f"Nothing was done: {str(error).removeprefix('hookflow: ')}.", messages.ERROR)
            return
        if not applied:
            self.message_user(request, "Nothing changed: the run was already in this state.", messages.WARNING)
            return
        self.log_change(request, situation.run, f"{operation.label}: {form.given_reason}")
        other = WorkflowRun.objects.filter(run_id=situation.other_run_id).first() if situation.other_run_id else None
        link = format_html(' <a href="{}">{}</a>', run_url(request, other), other.run_id) if other else ""
        self.message_user(request, format_html("{}{}", operation.done, link), messages.SUCCESS)

    def _repeat(
        self, request: HttpRequest, operation: Operation, situation: Situation, form: ReasonForm, done: WorkflowEvent
    ) -> None:
        """The same was done after the person had looked: by their first click, or by somebody else."""
        actor = request.user.get_username()
        if form.is_valid():
            operation.repeat(situation, done, form.given_reason, actor)
        who = "you" if done.actor == actor else done.actor or "somebody"
        text = f"Nothing was done: {who} did this after you opened the page (event #{done.seq})."
        self.message_user(request, text, messages.WARNING)


def run_url(request: HttpRequest, run: WorkflowRun) -> str:
    return admin_url(request, "workflowrun_change", run.pk)


def last_seq_of(run: WorkflowRun) -> int:
    head: Head = Head.objects.only("last_seq").get(run_uid=run.pk)
    return head.last_seq


def find_since(run: WorkflowRun, operation: Operation, data: QueryDict) -> WorkflowEvent | None:
    """The event by which the same was done after the person had looked, if it was."""
    try:
        seen = ReasonForm.base_fields["seen"].clean(data.get("seen"))
    except ValidationError:  # of which the form will complain
        return None
    return run.events.filter(seq__gt=seen, type=operation.event).order_by("seq").first()


@contextmanager
def one_at_a_time(run: WorkflowRun) -> Iterator[None]:
    """A transaction in which no other one acts on the run from the admin: the second of two clicks finds the first."""
    with transaction.atomic(using=alias()), cursor() as c:
        c.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, str(run.pk)])
        yield
