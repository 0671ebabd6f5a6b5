"""Acting on many runs at once: those that are selected, or all that the list's filters match, however many.

An action of the list. Asked for first, it answers with a page that shows what will happen and asks for a reason and for
which runs; confirmed, it does so many as a request should do and answers with how many it has been, which were refused
and why, and a button for the rest (which a little JavaScript presses). The runs are gone through from the newest to the
oldest that there was at the moment of asking, in batches, each run in a transaction of its own: nothing is held in
memory, one that is refused keeps no other from it, and what is asked for twice is done once.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core import signing
from django.core.exceptions import EmptyResultSet
from django.db.models import Q
from django.template.response import TemplateResponse

from django_hookflow.admin.bounded import TookTooLong, at_most
from django_hookflow.admin.counts import compile_query
from django_hookflow.admin.operating.forms import ReasonForm
from django_hookflow.admin.operating.operations import Operation
from django_hookflow.admin.operating.situation import Situation
from django_hookflow.clock import clock
from django_hookflow.durations import format_duration
from django_hookflow.events.database import database_now
from django_hookflow.exceptions import HookFlowException

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from django_hookflow.models import WorkflowRun

#: Rows that are read at a time, and rows and seconds after which a request ends and the next goes on.
BATCH = 200
ROWS_A_REQUEST = 1_000
SECONDS_A_REQUEST = 10.0
#: Up to how many matching rows are counted, for how long, and how many refusals are shown.
MAX_COUNTED, COUNT_SECONDS = 100_000, 2.0
MAX_REFUSALS = 100
SALT = "django_hookflow.operating_many"
#: What a form sends that is for all rows and none by name: Django looks for a selection before it looks at the action.
NOTHING_SELECTED = "all"


class Act(Protocol):
    """What is done to each row of a list."""

    @property
    def name(self) -> str: ...

    @property
    def verb(self) -> str: ...

    @property
    def past(self) -> str: ...

    @property
    def row(self) -> str: ...

    @property
    def rows(self) -> str: ...

    @property
    def what_happens(self) -> str: ...

    def do(self, row: Any, reason: str, actor: str, asked: datetime.datetime) -> bool:
        """Does it to one row, as was asked for then; False when it was so already, HookFlowException why not."""


class NotNow(HookFlowException):
    """It makes no sense as the run stands."""


@dataclass(frozen=True)
class RunAct:
    """An operation on a run, as one of many."""

    operation: Operation

    @property
    def name(self) -> str:
        return f"{self.operation.name}_selected"

    @property
    def verb(self) -> str:
        return self.operation.label

    @property
    def past(self) -> str:
        return self.operation.past

    @property
    def row(self) -> str:
        return "run"

    @property
    def rows(self) -> str:
        return "runs"

    @property
    def what_happens(self) -> str:
        return self.operation.what_happens_to_many

    def do(self, row: WorkflowRun, reason: str, actor: str, asked: datetime.datetime) -> bool:
        situation = Situation(row)
        if self.operation.is_done(situation):
            return False
        if why_not := self.operation.why_not(situation):
            raise NotNow(why_not)
        if self.operation.name == "replay" and situation.failure and situation.failure.created_at > asked:
            raise NotNow("It has failed again since you asked.")
        return self.operation.carry_out(situation, reason, {}, actor)


@dataclass
class BulkProgress:
    """How far it has come: up to which row, in the list's order from the newest, and with what result.

    ``total`` is how many there were when it began, None where they are not counted; ``began`` by this process's clock.
    """

    asked: str
    until: str
    key: str = ""
    began: float = 0.0
    total: int | None = None
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    refusals: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def begin(cls) -> BulkProgress:
        now = database_now().isoformat()
        return cls(asked=now, until=now)

    @classmethod
    def loads(cls, text: str) -> BulkProgress:
        return cls(**signing.loads(text, salt=SALT))

    def dumps(self) -> str:
        """As a form carries it: signed, for counts are shown as ours."""
        return signing.dumps(asdict(self), salt=SALT, compress=True)

    def rows_after(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The rows still to be done, in the order of the indexes by ``created_at``."""
        until = datetime.datetime.fromisoformat(self.until)
        rows = queryset.filter(created_at__lte=until).order_by("-created_at", "-pk")
        return rows.filter(Q(created_at__lt=until) | Q(pk__lt=self.key)) if self.key else rows

    def refuse(self, row: Any, why: str) -> None:
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append((str(row.pk), row.run_id, why))

    @property
    def gone_through(self) -> int:
        return self.changed + self.unchanged + self.refused

    @property
    def percent(self) -> int | None:
        """How much of it has been gone through. Rows may have come to match since they were counted."""
        return min(99, 100 * self.gone_through // self.total) if self.total else None

    @property
    def time_left(self) -> str:
        """As long as the rest takes if it goes on as before; "" where that is not known."""
        seconds = clock.time() - self.began
        if not self.total or not self.gone_through or seconds <= 0:
            return ""
        return format_duration(max(1, round(seconds * (self.total - self.gone_through) / self.gone_through)))

    @property
    def unnamed(self) -> int:
        """Refusals that are counted and not shown."""
        return self.refused - len(self.refusals)


class ManyForm(ReasonForm):
    """Which rows, and why."""

    #: Of the button that sends the form, of which there is one for each choice.
    scope = forms.ChoiceField(choices=[("selected", "selected"), ("all", "all")])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(None, *args, **kwargs)
        del self.fields["seen"]

    def visible_fields(self) -> list[Any]:
        return [field for field in super().visible_fields() if field.name != "scope"]


@dataclass(frozen=True)
class Button:
    """One way of sending the form: to the rows of this scope."""

    scope: str
    words: str


def many_at_once(act: Act) -> Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse]:
    """The admin action that does ``act`` to many rows."""

    def action(model_admin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        return Many(act, model_admin, request).answer()

    action.__name__ = act.name
    return admin.action(action, description=f"{act.verb} selected {act.rows} …", permissions=["operate"])


class Many:
    """One request to act on many rows: the first, which asks, or a later one, which does a part of it."""

    def __init__(self, act: Act, model_admin: Any, request: HttpRequest) -> None:
        self.act = act
        self.admin = model_admin
        self.request = request
        self.selected = request.POST.getlist(ACTION_CHECKBOX_NAME)

    def answer(self) -> HttpResponse:
        data = self.request.POST
        if "confirmed" not in data:
            return self._ask(ManyForm(), BulkProgress.begin())
        try:
            progress = BulkProgress.loads(data.get("progress", ""))
        except (signing.BadSignature, TypeError):  # forged, or signed by another version of this
            return self._ask(ManyForm(data), BulkProgress.begin())
        form = ManyForm(data)
        if not form.is_valid():
            return self._ask(form, progress)
        rows = self._rows(form.cleaned_data["scope"])
        if not progress.began:
            progress.began, progress.total = clock.time(), self._count(progress.rows_after(rows))
        is_done = self._do_some(rows, form.given_reason, progress)
        title = f"{self.act.verb} {self.act.rows}"
        return self._render(
            "operate_many_result.html",
            title=title,
            form=form,
            progress=progress,
            is_done=is_done,
            sentence=self._sentence(progress, is_done=is_done),
            counts=[
                (self.act.past.capitalize(), f"{progress.changed:,}"),
                (f"Already {self.act.past}", f"{progress.unchanged:,}"),
                ("Refused", f"{progress.refused:,}"),
            ],
        )

    def _sentence(self, progress: BulkProgress, *, is_done: bool) -> str:
        if is_done:
            refused = f", {progress.refused:,} refused" if progress.refused else ""
            return f"Done: {progress.changed:,} {self.act.past}{refused}."
        if progress.total is None:
            return f"{progress.gone_through:,} {self.act.rows} so far, of more than {MAX_COUNTED:,}."
        left = f", about {progress.time_left} left" if progress.time_left else ""
        return f"{progress.gone_through:,} of {progress.total:,} {self.act.rows} ({progress.percent} %){left}."

    def _rows(self, scope: str) -> QuerySet[Any]:
        """Of a selection, all rows, also those that the list's filters no longer match: each gets its answer."""
        if scope == "selected":
            rows: QuerySet[Any] = self.admin.get_queryset(self.request)
            return rows.filter(pk__in=self.selected)
        return self._all_that_match

    @cached_property
    def _list(self) -> Any:
        """The list as its filters have it, with a ``note`` of what it leaves out."""
        return self.admin.get_changelist_instance(self.request)

    @cached_property
    def _all_that_match(self) -> QuerySet[Any]:
        matching: QuerySet[Any] = self._list.queryset
        return matching

    def _count(self, rows: QuerySet[Any]) -> int | None:
        """None where there are more than are counted, or counting them takes too long."""
        try:
            sql, parameters = compile_query(rows.order_by().values_list("pk")[: MAX_COUNTED + 1])
            with at_most(COUNT_SECONDS, rows.db) as cursor:
                cursor.execute(f"SELECT count(*) FROM ({sql}) AS few", parameters)  # noqa: S608 # what Django compiled
                (number,) = cursor.fetchone()
        except EmptyResultSet:
            return 0
        except TookTooLong:
            return None
        return number if number <= MAX_COUNTED else None

    def _buttons(self) -> list[Button]:
        """First what was asked for in the list; then the other of all and those that are selected, if it is another."""
        data, verb, number = self.request.POST, self.act.verb, self._count(self._all_that_match)
        is_all = data.get("scope") == "all" if "confirmed" in data else data.get("select_across") == "1"
        some, every = self._number(len(self.selected)), self._number(number)
        if not self.selected or number == len(self.selected):
            return [Button("all" if is_all or not self.selected else "selected", f"{verb} {every}")]
        if is_all:
            return [Button("all", f"{verb} {every}"), Button("selected", f"{verb} only the {some} selected")]
        return [Button("selected", f"{verb} {some}"), Button("all", f"{verb} all {every} that match the list")]

    def _number(self, number: int | None) -> str:
        if number is None:
            return f"more than {MAX_COUNTED:,} {self.act.rows}"
        return f"{number:,} {self.act.row if number == 1 else self.act.rows}"

    def _do_some(self, rows: QuerySet[Any], reason: str, progress: BulkProgress) -> bool:
        """Does as many rows as a request should do; whether that was all."""
        ends_at = clock.monotonic() + SECONDS_A_REQUEST
        for _ in range(ROWS_A_REQUEST // BATCH):
            batch = list(progress.rows_after(rows)[:BATCH])
            for row in batch:
                self._do(row, reason, progress)
                if clock.monotonic() >= ends_at:
                    return False
            if len(batch) < BATCH:
                return True
        return False

    def _do(self, row: Any, reason: str, progress: BulkProgress) -> None:
        progress.until, progress.key = row.created_at.isoformat(), str(row.pk)
        asked = datetime.datetime.fromisoformat(progress.asked)
        try:
            if self.act.do(row, reason, self.request.user.get_username(), asked):
                progress.changed += 1
                self.admin.log_change(self.request, row, f"{self.act.verb}: {reason}")
            else:
                progress.unchanged += 1
        except HookFlowException as error:
            progress.refuse(row, str(error).removeprefix("hookflow: "))

    def _ask(self, form: ManyForm, progress: BulkProgress) -> HttpResponse:
        form.prepare()
        buttons = self._buttons()
        title = f"{buttons[0].words}?"
        return self._render("operate_many.html", form=form, progress=progress, buttons=buttons, title=title)

    def _render(self, template: str, **context: Any) -> HttpResponse:
        everything = {
            **self.admin.admin_site.each_context(self.request),
            "opts": self.admin.opts,
            "act": self.act,
            "list_url": self.request.get_full_path(),
            "selected": self.selected,
            "nothing": NOTHING_SELECTED,
            "note": str(getattr(self._list, "note", "") or ""),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            **context,
        }
        return TemplateResponse(self.request, f"admin/django_hookflow/{template}", everything)
