"""Starting a run by hand: a form for workflow, data, label, id and a reason, empty or filled in from a run.

It takes the permission ``trigger_workflowrun``. The run's first event has the person as actor, and a note after it the
reason. Without an id of its own a run gets one that the form brings along, so that a form sent twice starts one run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from django_hookflow.admin.base import ReadOnlyAdmin, admin_url, may_see_payloads
from django_hookflow.admin.operating.forms import ReasonForm, refuse_constant
from django_hookflow.conf import conf
from django_hookflow.events import codec
from django_hookflow.events.database import alias
from django_hookflow.exceptions import HookFlowException, InvalidText, NotSerializable, RunConflict
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.registry import get_workflow, registered_workflows
from django_hookflow.runtime.trigger import uuid7
from django_hookflow.sealing import TAG
from django_hookflow.texts import checked_label, checked_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

PERMISSION = "django_hookflow.trigger_workflowrun"
#: What stands for a value that is hidden where data is shown.
MASK = "[masked]"
MASKS_NAMED = 5


def may_start(request: HttpRequest) -> bool:
    return request.user.has_perm(PERMISSION)


class StartForm(ReasonForm):
    workflow = forms.ChoiceField()
    data = forms.CharField(  # type: ignore[assignment] # the name of a form's own attribute, which stays what it is
        label="Data, as a JSON object",
        max_length=None,
        initial="{}",
        widget=forms.Textarea(attrs={"rows": 10, "spellcheck": "false", "class": "hookflow-json"}),
    )
    label = forms.CharField(required=False, max_length=255, help_text="A name for people, such as an order number.")
    run_id = forms.CharField(
        label="Run id", required=False, max_length=255, help_text="Leave empty to have an id generated."
    )
    own_id = forms.UUIDField(widget=forms.HiddenInput)
    seen = None  # type: ignore[assignment]  # there is no log yet that somebody could have seen
    #: Whether the run was there before the form was sent.
    was_there = False
    field_order = ["workflow", "data", "label", "run_id", "reason"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(None, *args, **kwargs)
        choices = [("", "Choose a workflow"), *((name, name) for name in sorted(registered_workflows()))]
        self.fields["workflow"] = forms.ChoiceField(choices=choices)
        self.order_fields(self.field_order)

    def clean_data(self) -> dict[str, Any]:
        try:
            plain = json.loads(self.cleaned_data["data"], parse_constant=refuse_constant)
        except RecursionError as error:
            raise forms.ValidationError("This JSON is nested too deeply.") from error
        except ValueError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from error
        if not isinstance(plain, dict):
            raise forms.ValidationError(
                'Data must be a JSON object: it begins with { and ends with }, such as {"order": 17}.'
            )
        if masked := [place for place, value in walk(plain) if value == MASK]:
            more = f" and {len(masked) - MASKS_NAMED} more" if len(masked) > MASKS_NAMED else ""
            named = ", ".join(masked[:MASKS_NAMED])
            raise forms.ValidationError(f"{MASK} stands for a hidden value: enter the real one at {named}{more}.")
        return self.decoded(plain)

    def decoded(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The data as ``trigger()`` takes it: what a run recorded as ``{"$decimal": "1.5"}`` is a Decimal again."""
        try:
            data: Any = codec.untag(plain)
            if not isinstance(data, dict):
                raise forms.ValidationError(f"Data must be a JSON object, and this is {data!r:.80}.")
            codec.encode(data, path="data", limit=conf.max_payload_size)
        except NotSerializable as error:
            raise forms.ValidationError(f"{error}.") from error
        except (RecursionError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise forms.ValidationError(f"A value that has a key beginning with $ cannot be read: {error}.") from error
        return data

    def clean_label(self) -> str:
        return checked_text(checked_label, self.cleaned_data["label"])

    def clean_run_id(self) -> str:
        return checked_text(checked_run_id, self.cleaned_data["run_id"])


def checked_text(check: Callable[[Any], Any], text: str) -> str:
    """A text that the log takes; "" for none."""
    try:
        return str(check(text)) if text else ""
    except InvalidText as error:
        raise forms.ValidationError(f"{error}.") from error


def walk(value: Any, place: str = "data") -> Iterator[tuple[str, Any]]:
    """Every value inside of JSON that holds no other, and where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from walk(inner, f"{place}[{number}]")
    else:
        yield place, value


class Starting(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.start_view)
        return [
            path("start/", view, name="django_hookflow_workflowrun_start"),
            path("<uuid:like>/start/", view, name="django_hookflow_workflowrun_start_like"),
            *super().get_urls(),
        ]

    def start_view(self, request: HttpRequest, like: Any = None) -> HttpResponse:
        if request.method not in ("GET", "HEAD", "POST"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        run = self.get_object(request, str(like)) if like else None
        if not self.has_view_permission(request, run) or not may_start(request):
            raise PermissionDenied
        if like and run is None:
            raise Http404
        if request.method != "POST":
            initial, notes = prefilled(request, run)
            return self._show_form(request, run, StartForm(initial=initial), notes)
        form = StartForm(request.POST)
        if form.is_valid() and (started := start(request, form, run)) is not None:
            self._say_started(request, started, form)
            return HttpResponseRedirect(admin_url(request, "workflowrun_change", started.pk))
        return self._show_form(request, run, form, [])

    def _show_form(
        self, request: HttpRequest, run: WorkflowRun | None, form: StartForm, notes: list[str]
    ) -> HttpResponse:
        form.prepare()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Run again with other data: {run.run_id}" if run else "Start a run",
            "run": run,
            "run_url": admin_url(request, "workflowrun_change", run.pk) if run else "",
            "form": form,
            "notes": notes,
            "subjects": bool(run and run.subjects),
            "has_workflows": bool(registered_workflows()),
        }
        return TemplateResponse(request, "admin/django_hookflow/start.html", context)

    def _say_started(self, request: HttpRequest, run: WorkflowRun, form: StartForm) -> None:
        if form.was_there:
            self.message_user(request, "Nothing was started: this run already exists.", messages.WARNING)
            return
        self.log_addition(request, run, f"Started by hand: {form.given_reason}")
        self.message_user(request, "The run has been started.", messages.SUCCESS)


def prefilled(request: HttpRequest, run: WorkflowRun | None) -> tuple[dict[str, Any], list[str]]:
    """What the form begins with, and what has to be said about it."""
    initial: dict[str, Any] = {"own_id": uuid7(), "workflow": request.GET.get("workflow", "")}
    if run is None:
        return initial, []
    initial |= {"workflow": run.workflow_id, "label": run.label}
    notes = []
    if run.workflow_id not in registered_workflows():
        notes.append(f"This server has no code for {run.workflow_id}, so it cannot be started here.")
    if not may_see_payloads(request):
        notes.append("You may not see what the run was started with: enter the data yourself.")
    elif isinstance(run.data, dict) and run.data.keys() == {TAG}:
        notes.append("What the run was started with is sealed: enter the data yourself.")
    elif run.events.filter(seq=1, payload_digest__isnull=False).exists() or not isinstance(run.data, dict):
        notes.append("What the run was started with has been redacted: enter the data yourself.")
    else:
        initial["data"] = json.dumps(run.data, indent=2, ensure_ascii=False)
    return initial, notes


def start(request: HttpRequest, form: StartForm, like: WorkflowRun | None) -> WorkflowRun | None:
    """The run, started or there already; None where it cannot be started, of which the form then has the error."""
    given = form.cleaned_data
    run_id, actor = given["run_id"] or str(given["own_id"]), request.user.get_username()
    try:
        with transaction.atomic(using=alias()):
            before = WorkflowRun.objects.filter(run_id=run_id).exists()
            get_workflow(given["workflow"]).trigger(
                given["data"], run_id, actor=actor, label=given["label"] or None, subject=like.subject if like else None
            )
            run: WorkflowRun = WorkflowRun.objects.get(run_id=run_id)
            form.was_there = before or WorkflowEvent.objects.filter(workflow_run=run, type="run.noted").exists()
            if not form.was_there:
                run.note(form.given_reason, actor=actor)
            return run
    except RunConflict:
        form.add_error("run_id", "A run with this id already exists, with other data or for another workflow.")
    except HookFlowException as error:
        form.add_error(None, f"{str(error).removeprefix('hookflow: ')}.")
    return None
