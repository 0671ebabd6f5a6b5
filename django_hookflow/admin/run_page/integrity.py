"""Whether a run is what its log says, and its log what was written: asked for by a button, for both read all of it."""

from __future__ import annotations

from dataclasses import dataclass

from django_hookflow import projections
from django_hookflow.evidence.verifying import verify
from django_hookflow.exceptions import UnknownRun

#: Findings that a page names.
MAX_NAMED = 20


@dataclass(frozen=True)
class IntegrityFinding:
    """One question, answered: ``holds`` is None where it cannot be answered, ``details`` say what does not hold."""

    words: str
    holds: bool | None
    details: list[str]


def examine(run_id: str, last_seq: int) -> list[IntegrityFinding]:
    """What stands, and what does not, of the run with that id."""
    return [compare_with_log(run_id, last_seq), verify_chain(run_id)]


def compare_with_log(run_id: str, last_seq: int) -> IntegrityFinding:
    try:
        found = [str(difference) for difference in projections.diff(run_id)]
    except projections.NothingToFold as error:
        return IntegrityFinding("The projection cannot be compared", None, [str(error)])
    except UnknownRun as error:
        return IntegrityFinding("There is nothing to compare the projection with", False, [str(error)])
    if found:
        return IntegrityFinding(f"The projection differs from the log at #{last_seq}", False, found[:MAX_NAMED])
    return IntegrityFinding(f"The projection matches the log at #{last_seq}", True, [])


def verify_chain(run_id: str) -> IntegrityFinding:
    try:
        parts = list(verify(run_id))
    except UnknownRun as error:
        return IntegrityFinding("There is no chain to verify", False, [str(error)])
    breaks = [str(found) for part in parts for found in part.problems]
    events = sum(part.events for part in parts)
    if breaks:
        return IntegrityFinding("The hash chain does not verify", False, breaks[:MAX_NAMED])
    if not events:
        return IntegrityFinding("The hash chain is in an archive", None, ["Run hookflow_archive verify to check it."])
    return IntegrityFinding(f"The hash chain verifies: {events:,} event{'s' if events != 1 else ''}", True, [])
