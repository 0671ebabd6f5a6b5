"""What a list of no runs says: how to begin where there are none at all, and else what was asked for and what is near it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_hookflow.admin.base import seen_of
from django_hookflow.admin.filters import TimeFilter
from django_hookflow.doctor.examination import examine
from django_hookflow.registry import registered_workflows
from django_hookflow.timeline.similar_ids import find_similar_ids

if TYPE_CHECKING:
    from django_hookflow.doctor.findings import Finding

#: What of the doctor's areas decides whether a first run would go, and costs no request to anybody.
AREAS = ("settings", "schema", "relay")
MOST_FINDINGS, MOST_NAMES = 3, 5


@dataclass(frozen=True)
class Empty:
    """``has_runs``: there are some, and the list shows none of them. ``without`` are links that ask for less."""

    has_runs: bool
    similar: list[str] = field(default_factory=list)
    without: list[tuple[str, str]] = field(default_factory=list)
    workflows: list[str] = field(default_factory=list)
    others: int = 0
    findings: list[Finding] = field(default_factory=list)


def explain_empty(changelist: Any) -> Empty:
    runs = changelist.root_queryset
    if not runs.order_by("-created_at").values("pk")[:1]:
        found = (finding for examined in examine(AREAS, offline=True) for finding in examined.findings)
        names = sorted(registered_workflows())
        bad = [finding for finding in found if finding.level in ("warning", "error")]
        return Empty(
            has_runs=False, workflows=names[:MOST_NAMES], others=len(names[MOST_NAMES:]), findings=bad[:MOST_FINDINGS]
        )
    words = changelist.query.strip()
    similar = find_similar_ids(words, runs.db) if words else []
    seen = seen_of(runs, "run_id", similar)
    return Empty(True, [name for name in similar if name in seen], list(without(changelist)))


def without(changelist: Any) -> Any:
    """A link for each thing that narrows the list down: the same list without it."""
    narrowing = [
        (f"“{changelist.tab_title}” alone", ["status__exact", "state"]),
        (f"the workflow {changelist.workflow}", ["workflow"]),
        ("the time", list(TimeFilter.parameters)),
    ]
    for words, names in narrowing:
        if any(changelist.params.get(name) for name in names):
            yield words, changelist.get_query_string(remove=names)
