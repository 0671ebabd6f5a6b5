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
from django.db.models import Q
from django.template.response import TemplateResponse

from django_hookflow.admin.operating_forms import ReasonForm
from django_hookflow.admin.operations import Operation
from django_hookflow.admin.situation import Situation
from django_hookflow.clock import clock
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
#: Up to how many matching rows are counted, and how many refusals are shown.
MAX_COUNTED = 1_000
MAX_REFUSALS = 100
SALT = "django_hookflow.operating_many"


class Act(Protocol):
    """What is done to each row of a list."""

    @property
    def name(self) -> str: ...

    @property
    def verb(self) -> str: ...

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
    """How far it has come: up to which row, in the list's order from the newest, and with what result."""

    asked: str
    until: str
    key: str = ""
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
    def unnamed(self) -> int:
        """Refusals that are counted and not shown."""
        return self.refused - len(self.refusals)


class ManyForm(ReasonForm):
    """Which rows, and why."""

    scope = forms.ChoiceField(label="Which", widget=forms.RadioSelect)
    field_order = ["scope", "reason"]

    def __init__(self, choices: list[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        super().__init__(None, *args, **kwargs)
        del self.fields["seen"]
        self.fields["scope"].choices = choices  # type: ignore[attr-defined]
        self.order_fields(self.field_order)


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
            all_or_some = "all" if data.get("select_across") == "1" else "selected"
            return self._ask(ManyForm(self._choices(), initial={"scope": all_or_some}), BulkProgress.begin())
        try:
            progress = BulkProgress.loads(data.get("progress", ""))
        except signing.BadSignature:
            return self._ask(ManyForm(self._choices(), data), BulkProgress.begin())
        form = ManyForm(self._choices(), data)
        if not form.is_valid():
            return self._ask(form, progress)
        is_done = self._do_some(form, progress)
        return self._render("operate_many_result.html", form=form, progress=progress, is_done=is_done)

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

    def _choices(self) -> list[tuple[str, str]]:
        matching = self._rows("all").order_by()[: MAX_COUNTED + 1].count()
        count = f"{MAX_COUNTED:,} or more" if matching > MAX_COUNTED else f"{matching:,}"
        return [
            ("selected", f"Those that are selected: {len(self.selected):,}"),
            ("all", f"All that the list's filters match now: {count}"),
        ]

    def _do_some(self, form: ManyForm, progress: BulkProgress) -> bool:
        """Does as many rows as a request should do; whether that was all."""
        rows = self._rows(form.cleaned_data["scope"])
        ends_at = clock.monotonic() + SECONDS_A_REQUEST
        for _ in range(ROWS_A_REQUEST // BATCH):
            batch = list(progress.rows_after(rows)[:BATCH])
            for row in batch:
                self._do(row, form.given_reason, progress)
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
        return self._render("operate_many.html", form=form, progress=progress)

    def _render(self, template: str, **context: Any) -> HttpResponse:
        everything = {
            **self.admin.admin_site.each_context(self.request),
            "title": f"{self.act.verb}: {self.act.rows}",
            "opts": self.admin.opts,
            "act": self.act,
            "list_url": self.request.get_full_path(),
            "selected": self.selected,
            "note": str(getattr(self._list, "note", "") or ""),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            **context,
        }
        return TemplateResponse(self.request, f"admin/django_hookflow/{template}", everything)
