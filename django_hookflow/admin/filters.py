"""A list narrowed down by time: the last hour, day or week, or from one moment to another."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_hookflow.events.database import database_now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django.http import HttpRequest

RANGES = {
    "hour": ("Last hour", datetime.timedelta(hours=1)),
    "day": ("Last 24 hours", datetime.timedelta(days=1)),
    "week": ("Last 7 days", datetime.timedelta(days=7)),
}
#: The time that is summed up when none has been chosen.
DEFAULT_SPAN = datetime.timedelta(days=1)


def database_time(request: HttpRequest) -> datetime.datetime:
    """What time it is where the runs are, the same for all of one request."""
    if "django_hookflow.now" not in request.META:
        request.META["django_hookflow.now"] = database_now()
    now: datetime.datetime = request.META["django_hookflow.now"]
    return now


class TimeFilter(admin.ListFilter):
    """By when a row was created. ``since`` and ``until`` are None where there is no bound; both are inclusive."""

    title = "time"
    template = "admin/django_hookflow/workflowrun/list_time.html"
    parameters = ("when", "since", "until")

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.chosen: dict[str, str] = {}
        for name in self.parameters:
            if name in params:
                given = params.pop(name)  # before Django 5.0 a text, since then a list of them
                self.chosen[name] = given if isinstance(given, str) else given[-1]
        self.when = self.chosen.get("when", "")
        self.since = read_moment(self.chosen.get("since", ""))
        self.until = read_moment(self.chosen.get("until", ""))
        if self.when:
            if self.when not in RANGES:
                raise IncorrectLookupParameters
            begin = database_time(request) - RANGES[self.when][1]
            self.since = max(begin, self.since or begin)
        self.hidden: list[tuple[str, str]] = []

    def span(self, now: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
        """The time that is chosen, or the last day: from when to when."""
        until = min(self.until or now, now)
        since = self.since or until - DEFAULT_SPAN
        return since, max(until, since)

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.since:
            queryset = queryset.filter(created_at__gte=self.since)
        return queryset.filter(created_at__lte=self.until) if self.until else queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        self.hidden = [(name, value) for name, value in changelist.params.items() if name not in self.parameters]
        yield {
            "selected": not any(self.chosen.values()),
            "query_string": changelist.get_query_string(remove=self.parameters),
            "display": "Any time",
        }
        for when, (title, _) in RANGES.items():
            yield {
                "selected": self.when == when,
                "query_string": changelist.get_query_string({"when": when}, remove=self.parameters),
                "display": title,
            }

    @property
    def since_shown(self) -> str:
        return format_moment(self.since) if self.chosen.get("since") else ""

    @property
    def until_shown(self) -> str:
        # Inclusive, so that what is shown, in whole seconds, bounds no less than what was asked for.
        return format_moment(self.until + datetime.timedelta(microseconds=999_999)) if self.until else ""


def read_moment(text: str) -> datetime.datetime | None:
    """A moment as a browser or a link writes it; None for no text. Without an offset it is in the current time zone."""
    if not text:
        return None
    try:
        moment = parse_datetime(text) or parse_datetime(f"{text}T00:00")
        if moment is None:
            raise IncorrectLookupParameters
        aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
        if not datetime.MINYEAR < aware.year < datetime.MAXYEAR:  # nothing can be added to what is at the end of time
            raise IncorrectLookupParameters
        return aware.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError) as error:
        raise IncorrectLookupParameters from error


def format_moment(moment: datetime.datetime | None) -> str:
    """For an input of type datetime-local."""
    return timezone.localtime(moment).strftime("%Y-%m-%dT%H:%M:%S") if moment else ""
