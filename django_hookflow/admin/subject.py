"""From a thing of the project to the runs about it, in its own admin, and from a run back to the thing."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import router, transaction
from django.urls import NoReverseMatch, reverse

from django_hookflow import subjects
from django_hookflow.admin.status import status_badge
from django_hookflow.conf import is_stateless
from django_hookflow.durations import format_duration
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import WorkflowRun

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite
    from django.db.models import Model, QuerySet
    from django.http import HttpRequest, HttpResponse

    from django_hookflow.subjects import Reference

    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

logger = logging.getLogger("django_hookflow")

#: Runs in the table on a thing's page.
SHOWN = 5
MAX_NAME = 100


class RunsMixin(ModelAdmin):
    """For the admin of a model that runs are about: a button to its runs, and a table of the latest, on each object's page.

    ``class OrderAdmin(RunsMixin, admin.ModelAdmin)``. Both are for those who may view workflow runs. An admin with a
    ``change_form_template`` of its own includes ``django_hookflow/admin/subject_runs.html`` in it.
    """

    change_form_template = "admin/django_hookflow/subject/change_form.html"

    class Media:
        css = {"all": ["django_hookflow/admin.css"]}

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None and not is_stateless() and request.user.has_perm("django_hookflow.view_workflowrun"):
            context["hookflow_runs"] = runs_about(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)


def runs_about(thing: Model) -> dict[str, Any]:
    """The latest runs about a thing, for the template of its page."""
    try:
        runs = WorkflowRun.objects.for_subject(thing).defer("data", "result").order_by("-created_at")[: SHOWN + 1]
    except WorkflowError as error:
        return {"error": str(error)}
    rows = [
        {
            "run": run,
            "badge": status_badge(run),
            "took": format_duration((run.completed_at - run.created_at).total_seconds()) if run.completed_at else "–",
        }
        for run in runs
    ]
    asked = urlencode({SubjectFilter.parameter_name: as_text(subjects.reference_to(thing))})
    return {"rows": rows[:SHOWN], "has_more": len(rows) > SHOWN, "query": asked}


@dataclass(frozen=True)
class ShownSubject:
    """A thing that a run is about; ``url`` is "" where there is no page of it for this person."""

    model: str
    name: str
    url: str
    is_gone: bool


def shown_subjects(request: HttpRequest, site: AdminSite, references: list[Reference] | None) -> list[ShownSubject]:
    return [show_subject(request, site, reference) for reference in references or []]


def show_subject(request: HttpRequest, site: AdminSite, reference: Reference) -> ShownSubject:
    """Its name and page for those who may see it there; for others, and where it has no page, its model and key."""
    model = subjects.model_of(reference)
    if model is None:
        return ShownSubject(reference["type"], reference["key"], "", is_gone=True)
    words = str(model._meta.verbose_name)
    try:
        with transaction.atomic(using=router.db_for_read(model)):
            thing = subjects.find(reference)
            name, url = name_and_page(request, site, model, thing) if thing else ("", "")
    except Exception:  # of the project's code or tables, for which the page of the run does not fail
        logger.exception("The subject %s of a run cannot be shown.", as_text(reference))
        return ShownSubject(words, reference["key"], "", is_gone=False)
    return ShownSubject(words, name or reference["key"], url, is_gone=thing is None)


def name_and_page(request: HttpRequest, site: AdminSite, model: type[Model], thing: Model) -> tuple[str, str]:
    """What a thing is called and its page in this admin; nothing of it for who may not see it, or where it has no page."""
    for registered, its_admin in site._registry.items():  # noqa: SLF001 # get_model_admin() is of Django 5.0
        if registered._meta.concrete_model is not model:
            continue
        if not its_admin.has_view_or_change_permission(request, thing):
            continue
        try:
            view = f"admin:{registered._meta.app_label}_{registered._meta.model_name}_change"
            url = reverse(view, args=(quote(thing.pk),), current_app=site.name)
        except NoReverseMatch:
            continue
        return str(thing)[:MAX_NAME], url
    return "", ""


def as_text(reference: Reference) -> str:
    """A reference as an address has it: ``shop.order:17``."""
    return f"{reference['type']}:{reference['key']}"


class SubjectFilter(admin.SimpleListFilter):
    """Of the list of runs, by the thing they are about. It is chosen by links, so it offers what is chosen alone."""

    title = "subject"
    parameter_name = "subject"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()
        return [(chosen, chosen)] if chosen else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if not chosen:
            return queryset
        type_, _, key = chosen.partition(":")
        return queryset.filter(subjects__contains=[{"type": type_.lower(), "key": key}])
