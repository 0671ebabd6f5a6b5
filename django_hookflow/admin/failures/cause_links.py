"""Where the block of causes above a list leads to: that list of one cause, and replaying all dead letters of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.urls import NoReverseMatch

from django_hookflow.admin.base import admin_url, may_see_payloads
from django_hookflow.admin.failures.causes import Causes, find_causes
from django_hookflow.admin.filters import TimeFilter, database_time

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from django_hookflow.models import DeadLetterEntry

OPERATE = "django_hookflow.operate_workflowrun"
SEE_DEAD_LETTERS = "django_hookflow.view_deadletterentry"
#: What of a list's address narrows down which dead letters a cause has there.
KEPT = ("workflow", *TimeFilter.parameters)


def causes_in_time(changelist: Any, failures: QuerySet[DeadLetterEntry], time: TimeFilter) -> Causes:
    """The causes of these failures of the time that the list is narrowed down to."""
    request: HttpRequest = changelist.request
    if time.since:
        failures = failures.filter(created_at__gte=time.since)
    if time.until:
        failures = failures.filter(created_at__lte=time.until)
    now = database_time(request)
    until = min(time.until or now, now)
    since = min(time.since, until) if time.since else None

    def links(term: str) -> tuple[str, str]:
        return changelist.get_query_string({"q": term}, remove=["p"]), replay_url(request, changelist.params, term)

    return find_causes(failures, since, until, sees_messages=may_see_payloads(request), links=links)


def replay_url(request: HttpRequest, params: dict[str, Any], term: str) -> str:
    """The list of dead letters that are to be replayed; "" for who may not, or where the admin has no such list."""
    if not request.user.has_perm(OPERATE) or not request.user.has_perm(SEE_DEAD_LETTERS):
        return ""
    try:
        url = admin_url(request, "deadletterentry_changelist")
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode({**{name: params[name] for name in KEPT if params.get(name)}, 'q': term})}"
