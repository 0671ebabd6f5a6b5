"""Holds archives against the database they came from: every run in them has to have a head there that ends the same, and
every run that was archived to be in one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django_hookflow.evidence.audit import (
    CheckedFile,
    Known,
    Problem,
    check_archive,
    facts_of,
    find_unproved,
    manifest_path,
)
from django_hookflow.evidence.proving import Gone
from django_hookflow.evidence.reading import reading
from django_hookflow.projections.difference import printable
from django_hookflow.sql import load
from django_hookflow.terminals import counted

RUNS_PER_LOOK = 5_000


@dataclass
class ComparedArchives:
    """What came of it. ``retired`` runs end in the archive where their tombstones do; ``whole`` ones are (still, or as
    well) in the log; ``went_on`` ones were archived again later, so this archive has their beginning."""

    retired: set[str] = field(default_factory=set)
    whole: int = 0
    went_on: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"as in their tombstones: {counted(len(self.retired), 'run')}"
        if self.whole:
            counts += f"; still in the log: {self.whole:,}"
        if self.went_on:
            counts += f"; continued after this archive was written: {self.went_on:,}"
        return counts


def compare_with_tombstones(archive: Path) -> ComparedArchives:
    """Compares the runs that the archive's manifest names with their heads. The file itself has been checked before."""
    compared = ComparedArchives()
    runs: list[dict[str, Any]] = json.loads(manifest_path(archive).read_text(encoding="utf-8"))["runs"]
    for start in range(0, len(runs), RUNS_PER_LOOK):
        part = runs[start : start + RUNS_PER_LOOK]
        for run, head in zip(part, _heads_of(part), strict=True):
            problem = _compare(compared, run, *head)
            if problem:
                compared.problems.append(f"run {run['run_id']!r} ({run['run_uid']}): {problem}")
    return compared


def _heads_of(runs: Sequence[dict[str, Any]]) -> list[Any]:
    with reading() as c:
        asked = {"uids": [run["run_uid"] for run in runs], "seqs": [run["last_seq"] for run in runs]}
        c.execute(load("retention_heads_of"), asked)
        rows: list[Any] = c.fetchall()
    return rows


def archives_in(directory: Path) -> list[Path]:
    """The archives in a directory, by name, which is by time."""
    return sorted(directory.glob("*.jsonl.gz"))


def check_with_manifest(path: Path, known: Iterable[Known] = ()) -> CheckedFile:
    """The same as :func:`check_archive`; without a manifest a file is no archive."""
    checked = check_archive(path, known)
    if not manifest_path(path).exists():
        checked.problems.append(f"{path}: {manifest_path(path).name} is missing from the same directory")
    return checked


def prove_gone(gone: Sequence[Gone], directory: Path | None) -> Iterator[Problem]:
    """What is not right with runs that were archived since a checkpoint: each is to be in an archive there, whole, as the
    checkpoint knows it and with the end that its tombstone has."""
    if directory is None:
        if gone:
            yield Problem(
                f"{len(gone):,} runs can only be verified with their archives: pass their directory with --archives"
            )
        return
    known = [run.known for run in gone]
    files = []
    found = set[str]()
    for path in archives_in(directory) if gone else ():
        files.append(checked := check_with_manifest(path, known))
        yield from map(Problem, checked.problems)
        if not checked.problems:
            found |= compare_with_tombstones(path).retired
    for run in gone:
        if run.known.run_uid not in found:
            yield _missing(run.known.run_id, run.tombstone, directory)
    yield from find_unproved((run for run in known if run.run_uid in found), files)


def find_tombstones_without(found: set[str], directory: Path) -> Iterator[Problem]:
    """The runs that were archived and are not among those ``found`` in the archives of a directory."""
    after = str(UUID(int=0))
    while True:
        with reading() as c:
            c.execute(load("retention_tombstones"), {"after": after, "runs": RUNS_PER_LOOK})
            rows = c.fetchall()
        if not rows:
            return
        for run_uid, run_id, tombstone in rows:
            if run_uid not in found:
                yield _missing(run_id, tombstone, directory)
        after = rows[-1][0]


def _missing(run_id: str, tombstone: str | None, directory: Path) -> Problem:
    said = facts_of({"facts": tombstone})
    archive = said.get("archive")
    where = f"in {archive}" if archive else f"without an archive, by {said.get('login', 'an unknown login')}"
    return Problem(
        f"was archived {printable(where)}, but no archive in {directory} matches its tombstone", printable(run_id)
    )


def _compare(
    compared: ComparedArchives,
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
        return "has no head in this database: its tombstone was removed, or this is a different database"
    if (run_id, workflow_id) != (run["run_id"], run["workflow_id"]):
        return f"is run {run_id!r} of {workflow_id!r} in this database"
    if last_seq < end[0]:
        return f"ends at #{last_seq} in this database, but at #{end[0]} in the archive"
    known = bytes(head_hash) if last_seq == end[0] else bytes(hash_there) if hash_there is not None else None
    if known is None:
        compared.went_on += 1
    elif known != end[1]:
        return f"has a different hash at #{end[0]} in this database: one of the two was rewritten"
    elif archived_at is not None and last_seq == end[0]:
        compared.retired.add(run["run_uid"])
    else:
        compared.whole += 1
    return ""
