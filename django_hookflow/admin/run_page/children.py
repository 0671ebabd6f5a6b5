"""The runs that a run has started, for its page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, F

from django_hookflow.admin.status import LABELS, status_badge
from django_hookflow.models import WorkflowRun

#: Of many, those that still live and the latest are shown.
SHOWN = 50


@dataclass(frozen=True)
class ShownChild:
    """A run that a step has started; ``badge`` is how it stands."""

    step_id: str
    run_id: str
    run_uid: UUID
    badge: str


@dataclass(frozen=True)
class Children:
    """Those that are shown; of all, ``words`` say how many stand how, such as ``3 completed, 1 failed``."""

    shown: list[ShownChild]
    total: int
    words: str


def children_of(run: WorkflowRun) -> Children:
    rows = run.children.order_by(F("completed_at").desc(nulls_first=True), "-created_at")[:SHOWN]
    shown = [_child(row) for row in rows.only("run_id", "status", "parent", "parent_step")]
    if not shown:
        return Children([], 0, "")
    counts = run.children.order_by("status").values_list("status").annotate(Count("pk"))
    numbers = [(LABELS.get(status, status).lower(), number) for status, number in counts]
    words = ", ".join(f"{number:,} {label}" for label, number in numbers)
    return Children(shown, sum(number for _, number in numbers), words)


def children_by_step(run: WorkflowRun, step_ids: Iterable[str]) -> dict[str, ShownChild]:
    """The last run that each of these steps has started, if it is one that starts runs."""
    wanted = list(step_ids)
    if not wanted:
        return {}
    rows = (
        run.children.filter(parent_step__in=wanted)
        .order_by("created_at")
        .only("run_id", "status", "parent", "parent_step")
    )
    return {row.parent_step: _child(row) for row in rows}


def _child(row: WorkflowRun) -> ShownChild:
    return ShownChild(row.parent_step, row.run_id, row.pk, status_badge(row))
