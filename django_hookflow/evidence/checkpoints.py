"""Checkpoints: a signed statement of where the chain of each run ended, in a file to be kept outside the database.

The first line has the token, which signs the root of a Merkle tree over the other lines; each of these is one run
(:mod:`.audit` has the format to the byte). A token names the digest of the one before, so checkpoints are a chain, too.
The row that continues the chain is committed before the file gets its name: a crash between the two leaves the whole
file under its temporary name, and never a file that the chain does not know.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.db import transaction

from django_hookflow.events.database import alias, cursor, owners_only
from django_hookflow.evidence.audit import CHECKPOINT_FORMAT, Known, MerkleTree, leaf_hash
from django_hookflow.evidence.files import new_file, put_on_disk
from django_hookflow.evidence.reading import look_past_search_path
from django_hookflow.evidence.signing import ISSUER, sign, signing_key
from django_hookflow.sql import load

BATCH = 5_000


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint that was made."""

    path: Path
    made_at: datetime.datetime
    runs: int
    events: int
    root: bytes


def make_checkpoint(path: Path, progress: Callable[[int], None] = lambda runs: None) -> SignedCheckpoint:
    """Writes a checkpoint of the log as it stands to ``path``; ``progress`` is called with how many more runs are done.

    Waits for a checkpoint that is being made, and for nothing else. Raises NotConfigured and UnusableKey, OutputExists,
    PermissionDenied and OSError; then there is no checkpoint.
    """
    signing_key()  # before the work, not after it
    with new_file(path) as file, tempfile.TemporaryFile() as lines:
        with owners_only("make checkpoints"), transaction.atomic(using=alias()), cursor() as c:
            look_past_search_path(c)
            # One at a time, so that each knows the one before. Reading is not held up.
            c.execute("LOCK TABLE django_hookflow_checkpoint IN SHARE ROW EXCLUSIVE MODE")
            previous, made_at, database = _look_around(c)
            tally = _write_lines(c, lines, progress)
            claims = tally.claims(previous, made_at, database)
            token = sign(claims)
            _put_together(file, token, lines)
            c.execute(
                "INSERT INTO django_hookflow_checkpoint (made_at, runs, events, root, token_digest) VALUES (%s, %s, %s, %s, %s)",
                [made_at, tally.runs, tally.events, tally.tree.root(), token_digest(token)],
            )
        return SignedCheckpoint(path, made_at, tally.runs, tally.events, tally.tree.root())


def token_digest(token: str) -> bytes:
    """What the next checkpoint calls this one by."""
    return hashlib.sha256(token.encode()).digest()


class _Tally:
    """What the lines come to."""

    def __init__(self) -> None:
        self.runs = 0
        self.events = 0
        self.first_run: str | None = None
        self.tree = MerkleTree()

    def add(self, known: Known) -> None:
        self.runs += 1
        self.events += known.last_seq
        self.first_run = self.first_run or known.run_uid
        self.tree.add(leaf_hash(known))

    def claims(self, previous: bytes | None, made_at: datetime.datetime, database: str) -> dict[str, Any]:
        """``database`` and ``first_run``, the oldest run there has ever been, distinguish one log from another."""
        return {
            "iss": ISSUER,
            "iat": int(made_at.timestamp()),
            "runs": self.runs,
            "events": self.events,
            "root": self.tree.root().hex(),
            "previous": previous and previous.hex(),
            "database": database,
            "first_run": self.first_run,
        }


def _look_around(c: Any) -> tuple[bytes | None, datetime.datetime, str]:
    """The digest of the token before, the database's time and its name."""
    c.execute(
        "SELECT (SELECT token_digest FROM django_hookflow_checkpoint ORDER BY id DESC LIMIT 1), hookflow_now(), current_database()"
    )
    previous, made_at, database = c.fetchone()
    return previous and bytes(previous), made_at, database


def _write_lines(c: Any, lines: IO[bytes], progress: Callable[[int], None]) -> _Tally:
    tally = _Tally()
    for heads in _batches(c):
        for run_uid, run_id, last_seq, head_hash, tombstone in heads:
            stone = None if tombstone is None else bytes.fromhex(tombstone)
            tally.add(Known(run_uid, run_id, last_seq, bytes.fromhex(head_hash), stone))
            line = json.dumps(
                [run_uid, run_id, last_seq, head_hash, tombstone], ensure_ascii=False, separators=(",", ":")
            )
            lines.write(line.encode() + b"\n")
        progress(len(heads))
    return tally


def _batches(c: Any) -> Iterator[list[Any]]:
    c.execute(load("checkpoint_heads"))
    while True:
        c.execute(f"FETCH {BATCH} FROM hookflow_heads")
        heads = c.fetchall()
        if not heads:
            break
        yield heads
    c.execute("CLOSE hookflow_heads")


def _put_together(file: IO[bytes], token: str, lines: IO[bytes]) -> None:
    """The token has to be the first line and is made last, so the lines have waited in a file of their own."""
    file.write(json.dumps({"format": CHECKPOINT_FORMAT, "token": token}).encode() + b"\n")
    lines.seek(0)
    shutil.copyfileobj(lines, file)
    put_on_disk(file)
