"""Writes the events of runs into a file that can be proved.

An archive is two files: ``NAME.jsonl.gz``, an event a line (``sql/event_lines.sql``), in order of run and seq, and
``NAME.manifest.json``, which has the format of the lines, the digest of the first file, and where the chain of each run
ends. Both are written,
brought to the disk and read back in a directory of their own (``NAME.part``) and get their place after that, the first
one last. What an interrupted call left may be deleted: such directories, and a manifest without its archive.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django_hookflow.events.database import alias, cursor, database_now
from django_hookflow.evidence.audit import ARCHIVE_FORMAT, LINE_FORMAT, check_archive, check_run, manifest_path
from django_hookflow.evidence.files import put_directory_on_disk, put_on_disk
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import Head
from django_hookflow.retention.runs import DueRun, batches_of
from django_hookflow.sql import load

#: What is read from the database at once, and so held in memory; a run that has more is read by itself.
EVENTS_PER_READ = 1_000


class ArchiveFailed(HookFlowException):
    """An archive could not be written, or did not read back as it was written."""

    def __init__(self, directory: Path, problem: object) -> None:
        super().__init__(
            f"no archive could be written to {directory}: {problem}. Nothing was removed that is not in an archive; "
            "free some space or use another directory, and run it again"
        )


@dataclass
class Archive:
    """What was archived. ``moved`` runs have gone on since they were found due; ``broken`` ones, whose chain does not
    hold, are evidence and are left in the database; neither is in the file."""

    path: Path | None = None
    events: int = 0
    runs: list[DueRun] = field(default_factory=list)
    moved: int = 0
    broken: list[str] = field(default_factory=list)


def writable_directory(name: str | Path) -> Path:
    """The directory of that name, if archives can be written there. Raises ArchiveFailed."""
    directory = Path(name)
    if not directory.is_dir():
        # Not made here: where a disk should be mounted and is not, it would be made on another.
        raise ArchiveFailed(directory, "it is not a directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ArchiveFailed(directory, "this process has no permission to write there")
    return directory


def write_archive(directory: Path, runs: Sequence[DueRun]) -> Archive:
    """Archives ``runs`` in a file of its own, and reads it back. Raises ArchiveFailed."""
    made_at = database_now().astimezone(datetime.timezone.utc)
    name = f"hookflow-{made_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    part = directory / f"{name}.part"
    try:
        part.mkdir()
        try:
            archive, problems = _write(part / f"{name}.jsonl.gz", made_at, runs, checks=False)
            if problems:
                # Some run's chain does not hold. Looking at each alone takes as long again, so it is done only now.
                archive, problems = _write(part / f"{name}.jsonl.gz", made_at, runs, checks=True)
            if problems:
                raise ArchiveFailed(directory, f"the written archive could not be read back: {problems[0]}")
            if archive.path is not None:
                archive.path = _put_in_place(archive.path, directory)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ArchiveFailed(directory, error) from error
    return archive


def _write(
    path: Path, made_at: datetime.datetime, runs: Sequence[DueRun], *, checks: bool
) -> tuple[Archive, list[str]]:
    """Writes archive and manifest; with what is wrong with them. With ``checks`` runs that would be are left out."""
    archive = Archive(path)
    digest = _write_events(archive, runs, checks)
    if not archive.runs:
        archive.path = None
        return archive, []
    _write_manifest(archive, made_at, digest)
    return archive, check_archive(path).problems


def _put_in_place(path: Path, directory: Path) -> Path:
    in_place = directory / path.name
    manifest_path(path).rename(manifest_path(in_place))
    path.rename(in_place)  # last: whoever sees an archive sees a whole one
    put_directory_on_disk(directory)
    return in_place


def _write_events(archive: Archive, runs: Sequence[DueRun], checks: bool) -> str:
    """Writes the events of each run whose log ends where its head said. Answers the file's SHA-256."""
    assert archive.path is not None
    with archive.path.open("wb") as file:
        hashing = _Hashing(file)
        with gzip.GzipFile(filename="", mode="wb", fileobj=hashing, mtime=0) as compressed:
            for run, lines in _read(runs):
                if _is_due(archive, run, lines, checks):
                    compressed.write("".join(f"{line}\n" for line in lines).encode())
                    archive.runs.append(run)
                    archive.events += len(lines)
        put_on_disk(file)
    return hashing.digest.hexdigest()


def _read(runs: Sequence[DueRun]) -> Iterator[tuple[DueRun, list[str]]]:
    """Each run with its events as lines, in order of run_uid."""
    in_order = sorted(runs, key=lambda run: run.run_uid)
    for batch in batches_of(in_order, max_events=EVENTS_PER_READ):
        yield from _read_together(batch) if len(batch) > 1 else [(batch[0], _read_alone(batch[0]))]


def _read_together(runs: Sequence[DueRun]) -> Iterator[tuple[DueRun, list[str]]]:
    lines = load("event_lines").replace("%(from)s", "asked.run_uid").replace("%(to)s", "asked.run_uid")
    with cursor() as c:
        c.execute(
            f"SELECT ARRAY(\n{lines}) FROM unnest(%s::uuid[]) AS asked (run_uid) ORDER BY run_uid",  # noqa: S608 - our own text
            [[run.run_uid for run in runs]],
        )
        found = c.fetchall()
    for run, (lines_of_run,) in zip(runs, found, strict=True):
        yield run, lines_of_run


def _read_alone(run: DueRun) -> list[str]:
    """Row by row: all of a long run's events in one array may be more than a value can hold."""
    with cursor() as c:
        c.execute(load("event_lines"), {"from": run.run_uid, "to": run.run_uid})
        return [line for (line,) in c.fetchall()]


def _is_due(archive: Archive, run: DueRun, lines: list[str], checks: bool) -> bool:
    """Whether the run is as it was found due. Else it is counted among those that have moved, or are broken."""
    problems = check_run(str(run.run_uid), map(json.loads, lines)).problems if checks else []
    end: dict[str, Any] = json.loads(lines[-1]) if lines else {"seq": 0, "hash": ""}
    if not problems and (end["seq"], end["hash"]) == (run.last_seq, run.head_hash.hex()):
        return True
    if _has_moved(run):
        archive.moved += 1
    else:
        problem = problems[0] if problems else f"its log ends at #{end['seq']}, but its head at #{run.last_seq}"
        archive.broken.append(f"run {run.run_id!r} was not archived: {problem}")
    return False


def _has_moved(run: DueRun) -> bool:
    """Whether its head is no longer as it was: the run has gone on, or another cleanup has retired it meanwhile."""
    as_known = {"last_seq": run.last_seq, "head_hash": run.head_hash, "archived_at": None}
    return not Head.objects.using(alias()).filter(run_uid=run.run_uid, **as_known).exists()


def _write_manifest(archive: Archive, made_at: datetime.datetime, digest: str) -> None:
    assert archive.path is not None
    manifest = {
        "format": ARCHIVE_FORMAT,
        "lines": LINE_FORMAT,
        "file": archive.path.name,
        "sha256": digest,
        "made_at": made_at.isoformat(),
        "events": archive.events,
        "runs": [_as_end(run) for run in archive.runs],
    }
    with manifest_path(archive.path).open("wb") as file:
        file.write(json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n")
        put_on_disk(file)


def _as_end(run: DueRun) -> dict[str, Any]:
    return {
        "run_uid": str(run.run_uid),
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "last_seq": run.last_seq,
        "head_hash": run.head_hash.hex(),
    }


class _Hashing:
    """A file that knows the digest of what has been written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
