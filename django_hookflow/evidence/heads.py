"""A run as it stands held against its own head: where its chain ends, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django_hookflow.evidence.audit import CheckedRun, Event, Problem, check_run, facts_of
from django_hookflow.projections.difference import printable


@dataclass(frozen=True)
class StoredRun:
    """The head of a run, None if there is none, and its events, in order."""

    run_uid: str
    head: dict[str, Any] | None
    events: list[Event]

    @property
    def name(self) -> str:
        """The id in its head, else the one in its first event, else its uid."""
        if self.head is not None:
            return printable(self.head["run_id"])
        first = facts_of(self.events[0]) if self.events else {}
        return printable(str(first.get("run_id", self.run_uid)))


def find_problems(run: StoredRun) -> list[Problem]:
    """Everything that does not hold, by seq."""
    checked = check_run(run.run_uid, run.events, name=run.name)
    for what in _compare(run, checked):
        checked.add(what)
    return sorted(checked.problems, key=lambda problem: problem.first or 0)


def _compare(run: StoredRun, checked: CheckedRun) -> Iterator[str]:
    head = run.head
    if head is None:
        yield f"has {checked.events} events and no head"
    elif head["archived"]:
        if run.events:
            yield f"is marked as archived, and still has {checked.events} events"
    elif not run.events:
        yield f"its head ends at #{head['last_seq']}, and it has no events"
    else:
        yield from _compare_ends(head, run.events[-1])
        for name, started_as in zip(("run_id", "workflow_id"), checked.names or (), strict=False):
            if started_as != head[name]:
                yield f"its head has the {name} {head[name]!r}, it was started with {started_as!r}"


def _compare_ends(head: dict[str, Any], last: Event) -> Iterator[str]:
    if head["last_seq"] != last["seq"]:
        yield f"its head ends at #{head['last_seq']}, its events at #{last['seq']}"
    elif head["head_hash"] != last["hash"]:
        yield f"its head has another hash than #{last['seq']}"
    elif head["last_at"] != last["recorded_at"]:
        yield f"its head has {head['last_at']} as the time of #{last['seq']}, which has {last['recorded_at']}"
