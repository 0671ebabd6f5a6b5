"""Who did what, when and why, over all runs: a page at ``…/workflowrun/activity/``, newest first.

An act is an event of a type that the catalogue calls one, or the beginning of a run that somebody triggered. The
page is filtered by ``who``, ``what`` and time (``since``, ``until``), and leafed through by ``before``; whatever is asked,
it looks at no more than :data:`LOOKED_AT` acts, found by an index that holds nothing else.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from psycopg import sql

from django_hookflow.admin.base import ReadOnlyAdmin, seen_of
from django_hookflow.admin.filters import format_moment, read_moment
from django_hookflow.events import types
from django_hookflow.events.database import cursor, database_now
from django_hookflow.sql import load
from django_hookflow.timeline.reading import REASONED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

PAGE = 50
#: Acts that a page is looked for in, at most.
LOOKED_AT = 10_000

#: What an event says that somebody did.
WORDS = {
    types.RUN_TRIGGERED: "Started",
    types.RUN_CANCELLED: "Cancelled",
    types.RUN_PAUSED: "Paused",
    types.RUN_RESUMED: "Resumed",
    types.RUN_WOKEN: "Woke",
    types.RUN_REPLAYED: "Replayed",
    types.RUN_REPLAY_REPEATED: "Requested another replay",
    types.RUN_RESTARTED: "Restarted from the beginning",
    types.RUN_REWOUND: "Rewound",
    types.RUN_REBUILT: "Rebuilt",
    types.RUN_NOTED: "Added a note",
    types.STEP_RESOLVED: "Resolved",
    types.SIGNAL_RECEIVED: "Sent a signal",
    types.DEAD_LETTER_REMOVED: "Removed a dead letter",
    types.EVENT_REDACTED: "Redacted",
}
ACTS = [each.name for each in types.CATALOGUE.values() if each.is_act]


@dataclass(frozen=True)
class ActOfPerson:
    position: int
    run_uid: UUID
    run_id: str | None
    workflow_id: str | None
    seq: int
    type: str
    step_id: str | None
    actor: str | None
    recorded_at: datetime.datetime
    reason: str | None
    signal: str | None

    @property
    def words(self) -> str:
        return WORDS.get(self.type, self.type)


@dataclass
class ActivityFilter:
    """What the address asks for; ``problems`` are what of it is not understood, and nothing is shown then."""

    who: str
    what: str
    since: datetime.datetime | None
    until: datetime.datetime | None
    before: tuple[datetime.datetime, int] | None
    problems: list[str]

    @classmethod
    def of(cls, query: Mapping[str, str]) -> ActivityFilter:
        problems: list[str] = []
        who, what = query.get("who", "").strip(), query.get("what", "").strip()
        if "\0" in who:
            problems.append("A name cannot contain a NUL character.")
            who = ""
        if what and what not in WORDS:
            problems.append(f"“{what[:80]}” is not a known action.")
        since, until = (_moment(query.get(name, ""), problems) for name in ("since", "until"))
        return cls(who[:255], what, since, until, _before(query.get("before", ""), problems), problems)

    @property
    def conditions(self) -> sql.Composable:
        """As SQL with parameters: an index by name serves only a statement that has the name in it."""
        asked = [
            ("actor = %(who)s", self.who),
            ("recorded_at >= %(since)s", self.since),
            ("recorded_at <= %(until)s", self.until),
            ("recorded_at <= %(moment)s AND (recorded_at, position) < (%(moment)s, %(position)s)", self.before),
        ]
        return sql.SQL(" AND ").join([sql.SQL("true"), *(sql.SQL(text) for text, given in asked if given)])

    @property
    def parameters(self) -> dict[str, Any]:
        moment, position = self.before or (None, None)
        return {"who": self.who, "since": self.since, "until": self.until, "moment": moment, "position": position}

    def query(self, **changes: Any) -> str:
        """The address of the same question with changes; None leaves a part out."""
        asked: dict[str, Any] = {
            "who": self.who,
            "what": self.what,
            "since": self.since,
            "until": self.until,
            **changes,
        }
        texts = {
            name: value.isoformat() if isinstance(value, datetime.datetime) else value for name, value in asked.items()
        }
        return urlencode({name: text for name, text in texts.items() if text})


def _moment(text: str, problems: list[str]) -> datetime.datetime | None:
    try:
        return read_moment(text.strip())
    except IncorrectLookupParameters:
        problems.append(f"“{text[:80]}” is not a date or time: write 2026-01-31, or 2026-01-31T14:03.")
        return None


def _before(text: str, problems: list[str]) -> tuple[datetime.datetime, int] | None:
    moment, _, position = text.partition("/")
    if not text:
        return None
    if not (position.isascii() and position.isdigit() and len(position) < 19):
        problems.append("This link is not valid. Start from the latest activity.")
        return None
    read = _moment(moment, problems)
    return (read, int(position)) if read else None


@dataclass(frozen=True)
class ActivityPage:
    """A page of acts; ``older`` is the address of the next, and ``is_cut`` says that not all there are were looked at."""

    acts: list[ActOfPerson]
    older: str = ""
    is_cut: bool = False


def read_acts(asked: ActivityFilter) -> ActivityPage:
    statement = sql.SQL(load("activity")).format(
        acts=sql.SQL("(type IN ({}) OR type = 'run.triggered' AND actor IS NOT NULL)").format(
            sql.SQL(", ").join(map(sql.Literal, ACTS))
        ),
        narrowed=asked.conditions,
    )
    given = {"type": asked.what, "looked_at": LOOKED_AT, "limit": PAGE + 1, "reasoned": REASONED}
    with cursor() as c:
        c.execute(statement, {**asked.parameters, **given})
        rows = c.fetchall()
    acts = [ActOfPerson(*row[:11]) for row in rows if row[0] is not None]
    if len(acts) > PAGE:
        last = acts[PAGE - 1]
        return ActivityPage(acts[:PAGE], asked.query(before=f"{last.recorded_at.isoformat()}/{last.position}"))
    if rows and rows[0][11] >= LOOKED_AT:
        return ActivityPage(acts, asked.query(before=f"{rows[0][12].isoformat()}/{rows[0][13]}"), is_cut=True)
    return ActivityPage(acts)


class Activity(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.activity_view)
        return [path("activity/", view, name="django_hookflow_workflowrun_activity"), *super().get_urls()]

    def activity_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = ActivityFilter.of(request.GET)
        answer = ActivityPage([]) if asked.problems else self._seen(request, read_acts(asked))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Activity",
            "asked": asked,
            "since": format_moment(asked.since),
            "until": format_moment(asked.until),
            "answer": answer,
            "looked_at": LOOKED_AT,
            "words": WORDS.items(),
            "zone": timezone.get_current_timezone_name(),
            "times": times(asked),
            "everybody": asked.query(who=None),
        }
        return TemplateResponse(
            request, "admin/django_hookflow/activity.html", context, status=400 if asked.problems else None
        )

    def _seen(self, request: HttpRequest, answer: ActivityPage) -> ActivityPage:
        """Without the runs that a project's subclass leaves out."""
        seen = seen_of(self.get_queryset(request), "pk", {act.run_uid for act in answer.acts})
        return replace(answer, acts=[act for act in answer.acts if act.run_uid in seen])


def times(asked: ActivityFilter) -> list[tuple[str, str, bool]]:
    """Times to click: what each is called, its address, and whether it is chosen."""
    midnight = timezone.localtime(database_now()).replace(hour=0, minute=0, second=0, microsecond=0)
    offered = {"Today": midnight, "Last 7 days": midnight - datetime.timedelta(days=7), "Any time": None}
    return [
        (words, "?" + asked.query(since=since, until=None), asked.since == since and asked.until is None)
        for words, since in offered.items()
    ]
