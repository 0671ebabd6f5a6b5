"""Holds an archive against the database it came from: every run in it has to have a head there that ends the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_hookflow.events.database import cursor
from django_hookflow.evidence.audit import manifest_path
from django_hookflow.sql import load

RUNS_PER_LOOK = 5_000


@dataclass
class Compared:
    """What came of it. ``retired`` runs end in the archive where their tombstones do; ``whole`` ones are (still, or as
    well) in the log; ``went_on`` ones were archived again later, so this archive has their beginning."""

    retired: int = 0
    whole: int = 0
    went_on: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.retired} runs end as their tombstones do"
        if self.whole:
            counts += f", {self.whole} are still in the log"
        if self.went_on:
            counts += f", {self.went_on} went on after this archive was made"
        return counts


def compare_with_tombstones(archive: Path) -> Compared:
    """Compares the runs that the archive's manifest names with their heads. The file itself has been checked before."""
    compared = Compared()
    runs: list[dict[str, Any]] = json.loads(manifest_path(archive).read_text(encoding="utf-8"))["runs"]
    for start in range(0, len(runs), RUNS_PER_LOOK):
        part = runs[start : start + RUNS_PER_LOOK]
        for run, head in zip(part, _heads_of(part), strict=True):
            problem = _compare(compared, run, *head)
            if problem:
                compared.problems.append(f"run {run['run_id']!r} ({run['run_uid']}): {problem}")
    return compared


def _heads_of(runs: Sequence[dict[str, Any]]) -> Iterator[Any]:
    with cursor() as c:
        asked = {"uids": [run["run_uid"] for run in runs], "seqs": [run["last_seq"] for run in runs]}
        c.execute(load("retention_heads_of"), asked)
        yield from c.fetchall()


def _compare(
    compared: Compared,
    run: dict[str, Any],
    run_id: str | None,
    workflow_id: str,
    last_seq: int,
    head_hash: bytes,
    archived_at: Any,
    hash_there: bytes | None,
) -> str:
    """Counts what the run is; or answers what is wrong."""
    end = run["last_seq"], bytes.fromhex(run["head_hash"])
    if run_id is None:
        return "has no head in this database: its tombstone was removed, or it is another database"
    if (run_id, workflow_id) != (run["run_id"], run["workflow_id"]):
        return f"is run {run_id!r} of {workflow_id!r} in this database"
    if last_seq < end[0]:
        return f"ends at #{last_seq} in this database, at #{end[0]} in the archive"
    known = bytes(head_hash) if last_seq == end[0] else bytes(hash_there) if hash_there is not None else None
    if known is None:
        compared.went_on += 1
    elif known != end[1]:
        return f"has another hash at #{end[0]} in this database: one of the two was written anew"
    elif archived_at is not None and last_seq == end[0]:
        compared.retired += 1
    else:
        compared.whole += 1
    return ""
