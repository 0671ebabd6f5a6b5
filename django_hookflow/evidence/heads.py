"""A run as it stands held against its own head: where its chain ends, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django_hookflow.evidence.audit import CheckedRun, Event, Problem, check_run, facts_of, holds
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
        yield f"has {checked.events} events but no head"
    elif head["archived"]:
        if run.events:
            yield f"is marked as archived but still has {checked.events} events"
        yield from _compare_tombstone(run.run_uid, head)
    elif head["tombstone"] is not None or head["tombstone_hash"] is not None:
        yield "has a tombstone but is not marked as archived"
    elif not run.events:
        yield f"its head ends at #{head['last_seq']}, but it has no events"
    else:
        yield from _compare_ends(head, run.events[-1])
        yield from _compare_names(head, checked.names or ())


def _compare_tombstone(run_uid: str, head: dict[str, Any]) -> Iterator[str]:
    """It is hashed as the event that would follow the last one."""
    without = dict.fromkeys(("step_id", "actor", "payload", "salt", "payload_digest"))
    event = {
        **without,
        "run_uid": run_uid,
        "seq": head["last_seq"] + 1,
        "recorded_at": head["archived_at"],
        "version": 1,
        "type": "run.archived",
        "facts": head["tombstone"],
        "hash": head["tombstone_hash"],
    }
    if not holds(event, bytes.fromhex(head["head_hash"])):
        yield "is marked as archived, but its tombstone was not written by archiving it"
    else:
        facts = facts_of(event)
        yield from _compare_names(head, (facts.get("run_id"), facts.get("workflow")))


def _compare_names(head: dict[str, Any], names: tuple[Any, ...]) -> Iterator[str]:
    for name, started_as in zip(("run_id", "workflow_id"), names, strict=False):
        if started_as != head[name]:
            yield f"its head has the {name} {head[name]!r}, but it was started with {started_as!r}"


def _compare_ends(head: dict[str, Any], last: Event) -> Iterator[str]:
    if head["last_seq"] != last["seq"]:
        yield f"its head ends at #{head['last_seq']}, but its events at #{last['seq']}"
    elif head["head_hash"] != last["hash"]:
        yield f"the hash in its head differs from that of #{last['seq']}"
    elif head["last_at"] != last["recorded_at"]:
        yield f"its head has the time {head['last_at']} for #{last['seq']}, but that event has {last['recorded_at']}"
