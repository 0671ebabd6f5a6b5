"""What the pages have in common: nothing can be changed, lists are searched by run id and filtered by workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import ValidationError
from django.http import HttpResponseRedirect
from django.urls import reverse

from django_hookflow.conf import is_stateless
from django_hookflow.registry import registered_workflows

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


#: Who may see what workflows were given, recorded and returned, and what their errors were.
SEE_PAYLOADS = "django_hookflow.view_payload_workflowrun"


def may_see_payloads(request: HttpRequest) -> bool:
    return request.user.has_perm(SEE_PAYLOADS)


def is_narrowed(rows: QuerySet[Any]) -> bool:
    """Whether a project's subclass leaves something out in its ``get_queryset``; ours leaves out nothing."""
    return bool(rows.query.where)


def seen_of(rows: QuerySet[Any], column: str, values: Collection[Any]) -> Collection[Any]:
    """Those of the values that are in these rows, where a project's subclass has narrowed them."""
    if not is_narrowed(rows):
        return values
    return set(rows.filter(**{f"{column}__in": values}).values_list(column, flat=True))


def admin_url(request: HttpRequest, name: str, *args: Any) -> str:
    """The page of this name in the admin site that the request is in: a project may have several."""
    match = request.resolver_match
    return reverse(f"admin:django_hookflow_{name}", args=args, current_app=match.namespace if match else None)


class ReadOnlyActionForm(ActionForm):
    """The admin's own. In Unfold the button beside it appears when its script, Alpine, knows what has been chosen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["action"].widget.attrs["x-model"] = "action"


class ReadOnlyAdmin(ModelAdmin):
    """Pages that show and never write. What the page of one object shows comes from a subclass's :meth:`describe`."""

    action_form = ReadOnlyActionForm
    list_per_page = 50
    show_full_result_count = False  # counting a large table a second time yields nothing that a page needs
    search_fields = ("run_id",)  # makes the search box appear; get_search_results does the search
    search_help_text = "A run id, or the beginning of one."

    if hasattr(admin, "ShowFacets"):  # since Django 5.0
        show_facets = admin.ShowFacets.NEVER  # a count beside each choice of a filter would read all of the table

    class Media:
        css = {"all": ["django_hookflow/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return not is_stateless() and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        if any("\0" in text for name, values in request.GET.lists() for text in (name, *values)):
            raise IncorrectLookupParameters  # PostgreSQL has no such text
        return super().get_changelist_instance(request)

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Without what is selected and can be no key of a row, for which Django looks all the same."""
        data = request.POST.copy()
        data.setlist(ACTION_CHECKBOX_NAME, [key for key in data.getlist(ACTION_CHECKBOX_NAME) if self.is_key(key)])
        request.POST = data  # type: ignore[assignment]
        return super().response_action(request, *args, **kwargs)

    def is_key(self, text: str) -> bool:
        try:
            self.opts.pk.clean(text, None)
        except ValidationError:
            return False
        return True

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        if "\0" in object_id or not (from_field or self.is_key(object_id)):
            return None
        return super().get_object(request, object_id, from_field or None)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """To the list, searched for what the address names: it says what is near it, which the admin's index does not."""
        response = super()._get_obj_does_not_exist_redirect(request, opts, object_id)  # type: ignore[misc]
        if "\0" in object_id or not self.has_view_permission(request):
            return cast("HttpResponse", response)
        changelist = reverse(f"{self.admin_site.name}:{opts.app_label}_{opts.model_name}_changelist")
        return HttpResponseRedirect(f"{changelist}?{urlencode({SEARCH_VAR: object_id})}")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The run with exactly this id, found by the index; where there is none, those whose id begins with it."""
        term = search_term.strip()
        if not term:
            return queryset, False
        exact = queryset.filter(run_id=term)
        return (exact if exact.exists() else queryset.filter(run_id__startswith=term)), False

    def describe(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page of ``obj`` shows, for its template."""
        raise NotImplementedError

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context.update(self.describe(request, obj))
        return super().render_change_form(request, context, add, change, form_url, obj)


class WorkflowFilter(admin.SimpleListFilter):
    """By workflow. Offers those this process knows: to ask the table would read all of it each time."""

    title = "workflow"
    parameter_name = "workflow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = self.value()  # may be one whose code is gone while its runs are not
        return [(name, name) for name in sorted({*registered_workflows(), *([chosen] if chosen else [])})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(workflow_id=self.value()) if self.value() else queryset
