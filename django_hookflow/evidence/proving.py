"""The present log held against checkpoints: it must be what they knew, and more at the end of its runs at most."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_hookflow.evidence.audit import (
    NOT_OF_CHECKPOINT,
    Known,
    Problem,
    Unreadable,
    check_checkpoint,
    read_known,
    read_token,
)
from django_hookflow.evidence.checkpoints import token_digest
from django_hookflow.evidence.reading import reading
from django_hookflow.evidence.signing import ForgedToken, verified_claims
from django_hookflow.exceptions import HookFlowException
from django_hookflow.projections.difference import printable
from django_hookflow.sql import load
from django_hookflow.terminals import counted

BATCH = 5_000
Selects = Callable[[Known], bool]


class BrokenCheckpoint(HookFlowException):
    """A file proves nothing: its signature, its lines or its place in the chain are not right."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"checkpoint {path}: {problem}")


@dataclass(frozen=True)
class Gone:
    """A run that was archived since a checkpoint, and what its tombstone says. Only its archive proves it."""

    known: Known
    tombstone: str | None


@dataclass
class Proved:
    """A checkpoint that is right, and what came of its runs."""

    path: Path
    made_at: datetime.datetime
    runs: int = 0
    gone: list[Gone] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"checkpoint {self.path} of {self.made_at:%Y-%m-%d %H:%M:%S} UTC: {counted(self.runs, 'run')} compared"
        return f"{text}, {len(self.gone):,} have been archived since" if self.gone else text


def signed_claims(path: Path) -> dict[str, Any]:
    """The claims of a checkpoint that is signed and whole. Raises BrokenCheckpoint, NotConfigured, UnusableKey."""
    try:
        claims = verified_claims(read_token(path))
        check_checkpoint(path)
    except (ForgedToken, Unreadable, OSError, UnicodeError) as error:
        raise BrokenCheckpoint(path, str(error)) from error
    return claims


def checked_claims(path: Path) -> dict[str, Any]:
    """The same of one that is on record in this database as well."""
    claims = signed_claims(path)
    with reading() as c:
        c.execute("SELECT FROM django_hookflow_checkpoint WHERE token_digest = %s", [token_digest(read_token(path))])
        if c.fetchone() is None:
            raise BrokenCheckpoint(
                path,
                f"this database has no record of it. It was made from database {claims['database']!r}: if that is this "
                "database, the record was removed or the database was restored to a time before the checkpoint",
            )
    return claims


def prove(paths: Sequence[Path], selects: Selects = lambda known: True) -> Iterator[Proved]:
    """Compares the log with each checkpoint, as the caller iterates; with the lines that ``selects`` alone.

    That a run's last known event is there proves what comes before it only if its chain holds, which ``verify`` says.
    All files are looked at first: raises BrokenCheckpoint, NotConfigured and UnusableKey before anything is compared.
    """
    claims = [checked_claims(path) for path in paths]
    for (one, _), (other, claimed) in itertools.pairwise(zip(paths, claims, strict=True)):
        _assert_follows(other, claimed["previous"], one)
    return (_compare(path, claimed, selects) for path, claimed in zip(paths, claims, strict=True))


def _assert_follows(path: Path, previous: str | None, one_before: Path) -> None:
    digest = token_digest(read_token(one_before)).hex()
    if previous != digest:
        raise BrokenCheckpoint(
            path,
            f"does not follow {one_before} (digest {digest[:16]}…): its previous checkpoint has the digest "
            f"{(previous or 'none')[:16]}…. Pass all checkpoints from the first to the last, oldest first",
        )


def _compare(path: Path, claims: dict[str, Any], selects: Selects) -> Proved:
    made_at = datetime.datetime.fromtimestamp(claims["iat"], datetime.timezone.utc)
    proved = Proved(path, made_at)
    lines = filter(selects, read_known(path))
    while batch := list(itertools.islice(lines, BATCH)):
        proved.runs += len(batch)
        for row in _find_unlike(batch):
            what = _compare_run(row)
            if isinstance(what, Gone):
                proved.gone.append(what)
            elif what is not None:
                proved.problems.append(Problem(what, printable(row["run_id"])))
    return proved


def _find_unlike(batch: list[Known]) -> Iterator[dict[str, Any]]:
    with reading() as c:
        c.execute(
            load("checkpoint_compare"),
            {
                "run_uids": [known.run_uid for known in batch],
                "run_ids": [known.run_id for known in batch],
                "last_seqs": [known.last_seq for known in batch],
                "hashes": [known.hash for known in batch],
                "tombstones": [known.tombstone for known in batch],
            },
        )
        names = [column.name for column in c.description]
        rows = c.fetchall()
    for row in rows:
        yield dict(zip(names, row, strict=True))


def _compare_run(row: dict[str, Any]) -> str | Gone | None:
    """What is not as the checkpoint knows it; None for a run that was archived before it and still is."""
    known = f"but the checkpoint has it up to #{row['last_seq']}"
    if row["head_last_seq"] is None:
        events = f"its events end at #{row['log_last_seq']}" if row["log_last_seq"] else "no events"
        return f"has no head and {events}, {known}"
    if row["head_run_id"] != row["run_id"]:
        return f"its head has the run_id {row['head_run_id']!r}, but the checkpoint has this one"
    if row["head_last_seq"] < row["last_seq"]:
        return f"its head ends at #{row['head_last_seq']}, {known}"
    if row["tombstone"] is not None and row["tombstone_hash"] != row["tombstone"]:
        return "was archived, but its tombstone differs from the one in the checkpoint"
    if row["event_hash"] is not None:
        return f"#{row['last_seq']} is {NOT_OF_CHECKPOINT}" if row["event_hash"] != row["hash"] else None
    if not row["archived"]:
        return f"#{row['last_seq']} is missing, {known}"
    if row["head_last_seq"] == row["last_seq"] and row["head_hash"] != row["hash"]:
        return f"is archived, but the hash of #{row['last_seq']} in its head differs from the checkpoint"
    if row["tombstone"] is not None:
        return None
    return Gone(Known(row["run_uid"], row["run_id"], row["last_seq"], bytes(row["hash"])), row["said"])
