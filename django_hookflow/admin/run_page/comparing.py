"""Two runs of a workflow side by side: this one, and the last that completed or any other. What differs is marked.

Results are compared as far as they are shown, and by their length; durations differ where one is more than twice the
other and the difference can be noticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path

from django_hookflow.admin.base import ReadOnlyAdmin, may_see_payloads
from django_hookflow.admin.run_page.run_state import RunState, read_state
from django_hookflow.admin.run_page.run_values import Value, failure_of, results_of, values_of
from django_hookflow.admin.status import status_badge
from django_hookflow.durations import format_duration

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from django_hookflow.models import WorkflowRun
    from django_hookflow.timeline import Row

#: Steps that are compared; a run of ten thousand has its own page.
STEPS_SHOWN = 300
#: From how many seconds on a difference in duration can be noticed.
NOTICEABLE = 0.1


@dataclass(frozen=True)
class Cell:
    """A step in one of the runs."""

    state: str
    kind: str
    attempts: int
    seconds: float
    error: str
    message: str
    result: Value | None
    seq: int

    @property
    def took(self) -> str:
        return format_duration(self.seconds)


@dataclass(frozen=True)
class ComparedStep:
    """A step, in either of the runs or in both; ``differs`` are the names of what is not the same."""

    step_id: str
    left: Cell | None
    right: Cell | None

    @property
    def differs(self) -> list[str]:
        left, right = self.left, self.right
        if left is None or right is None:
            return ["missing"]
        found = [name for name in ("kind", "state", "attempts", "error") if getattr(left, name) != getattr(right, name)]
        if _text_of(left.result) != _text_of(right.result) or left.message != right.message:
            found.append("result")
        if differ_noticeably(left.seconds, right.seconds):
            found.append("took")
        return found


def differ_noticeably(one: float, other: float) -> bool:
    return abs(one - other) > NOTICEABLE and max(one, other) > 2 * min(one, other)


def _text_of(value: Value | None) -> tuple[str, int] | None:
    return (value.shown.text, value.shown.size) if value and value.shown else None


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    run: WorkflowRun
    state: RunState
    data: Value
    result: Value
    cells: dict[str, Cell]

    @property
    def badge(self) -> str:
        return status_badge(self.run)

    @property
    def seconds(self) -> float:
        return self.state.story.seconds(self.state.present.now)

    @property
    def duration(self) -> str:
        return format_duration(self.seconds)

    @property
    def versions(self) -> list[str]:
        return self.state.story.versions

    @property
    def error(self) -> str:
        failure = failure_of(self.state.story)
        return failure.error["type"] if failure else ""


def side_of(run: WorkflowRun, *, sees: bool) -> Side:
    state = read_state(run, None)
    rows = [row for row in state.story.rows if not row.superseded][:STEPS_SHOWN]
    results = (
        results_of(run.pk, [row.seq for row in rows if row.state == "completed" and row.kind != "sleep"])
        if sees
        else {}
    )
    cells = {row.step_id: cell_of(row, state, results.get(row.seq), sees=sees) for row in rows}
    data, result = Value(None), Value(None)
    if sees and not state.is_archived:
        data, result = values_of(run.pk, state.until, is_completed=run.status == "completed")
    return Side(run, state, data, result, cells)


def cell_of(row: Row, state: RunState, result: Value | None, *, sees: bool) -> Cell:
    error = row.error if row.error and row.state != "completed" else None
    return Cell(
        state=row.state,
        kind=row.kind,
        attempts=row.attempts,
        seconds=row.worked(state.present.now) or row.seconds(state.present.now),
        error=error["type"] if error else "",
        message=error["message"] if error and sees else "",
        result=result,
        seq=row.seq,
    )


def lines_of(left: Side, right: Side) -> list[ComparedStep]:
    """The steps of both, in the order of the left run; what only the right one has stands where it was in that."""
    return [ComparedStep(name, left.cells.get(name), right.cells.get(name)) for name in merged(left.cells, right.cells)]


def merged(left: Iterable[str], right: Iterable[str]) -> list[str]:
    """All of both, each once."""
    ours = list(left)
    known = set(ours)
    after: dict[str, list[str]] = {}
    last = ""
    for name in right:
        if name in known:
            last = name
        else:
            after.setdefault(last, []).append(name)
    found = list(after.get("", []))
    for name in ours:
        found += [name, *after.get(name, [])]
    return found


class Comparing(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.compare_view)
        return [path("<uuid:run_uid>/compare/", view, name="django_hookflow_workflowrun_compare"), *super().get_urls()]

    def compare_view(self, request: HttpRequest, run_uid: UUID) -> HttpResponse:
        run: WorkflowRun | None = self.get_object(request, str(run_uid))
        if not self.has_view_permission(request, run):
            raise PermissionDenied
        if run is None:
            raise Http404
        asked = request.GET.get("with", "").strip()
        other, problem = find_other(self.get_queryset(request), run, asked)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Compare: run {run.run_id}",
            "run": run,
            "asked": asked[:255],
            "named": asked[:255] or (other.run_id if other else ""),
            "problem": problem,
            "sees_payloads": may_see_payloads(request),
            **(compare(run, other, sees=may_see_payloads(request)) if other else {}),
        }
        return TemplateResponse(request, "admin/django_hookflow/compare.html", context)


def find_other(runs: QuerySet[WorkflowRun], run: WorkflowRun, asked: str) -> tuple[WorkflowRun | None, str]:
    """The one of ``runs`` to compare with, by its id or its key, or the last that completed; or why there is none."""
    if not asked:
        completed = runs.filter(workflow_id=run.workflow_id, status="completed").exclude(pk=run.pk)
        other = completed.order_by("-created_at").first()
        return other, "" if other else "No other run of this workflow has completed. Name one to compare with."
    other = None if "\0" in asked else runs.filter(run_id=asked[:255]).first()
    if other is None:
        try:
            other = runs.filter(pk=UUID(asked)).first()
        except ValueError:
            pass
    if other is None:
        return None, f"There is no run “{asked[:255]}”."
    if other.pk == run.pk:
        return None, "That is this run."
    if other.workflow_id != run.workflow_id:
        return (
            None,
            f"Run {other.run_id} belongs to another workflow, {other.workflow_id}, so its steps cannot be compared.",
        )
    return other, ""


def compare(run: WorkflowRun, other: WorkflowRun, *, sees: bool) -> dict[str, Any]:
    left, right = side_of(run, sees=sees), side_of(other, sees=sees)
    lines = lines_of(left, right)
    steps = max(len([row for row in side.state.story.rows if not row.superseded]) for side in (left, right))
    return {
        "other": other,
        "left": left,
        "right": right,
        "lines": lines,
        "differing": sum(bool(line.differs) for line in lines),
        "left_out": max(0, steps - STEPS_SHOWN),
        "differs": {
            "status": run.status != other.status,
            "versions": left.versions != right.versions,
            "duration": differ_noticeably(left.seconds, right.seconds),
            "error": left.error != right.error,
            "data": _text_of(left.data) != _text_of(right.data),
            "result": _text_of(left.result) != _text_of(right.result),
        },
    }
