"""Recomputes the hashes of exported events. Needs Python 3.10 and its standard library, and nothing of this package.

    python audit.py [--checkpoint FILE] FILE…

A FILE is an archive (``NAME.jsonl.gz`` with ``NAME.manifest.json`` beside it) or JSON Lines exported with psql (see
``sql/event_lines.sql``), compressed or not. Prints a line for each problem and a count for each file; exits 1 if there
is any problem, a file without events among them. With a checkpoint it proves that the files together have every run that
the checkpoint knows, as it knows it. The checkpoint's signature is not verified here: any tool for JSON Web Tokens does
that, ``manage.py hookflow_verify`` too.

A line is one event, in order of ``run_uid`` and ``seq``, an object with these members:

    run_uid         text, a UUID                     recorded_at     text, 2026-01-31T23:59:59.123456Z
    seq             whole number, from 1             version         whole number
    type, facts     text                             salt            hexadecimal, or null
    step_id, actor  text, or null                    payload_digest  hexadecimal, or null
    payload         text, or null                    hash            hexadecimal

``facts`` and ``payload`` are the texts that were recorded, to the letter; each of them is JSON.

The hash of an event is SHA-256 over these bytes; whole numbers are signed and big-endian:

    4   48 46 31 00, that is 'HF1' and a zero byte
    32  the hash of the event before; of a run's first event: SHA-256 over the 16 bytes of run_uid
    16  run_uid
    4   seq
    8   recorded_at in microseconds since 1970-01-01T00:00:00Z
    2   version
    4+  type: the number of its bytes, and its bytes in UTF-8
    4+  step_id likewise; for null the number is -1 and no bytes follow
    4+  actor likewise
    4+  facts likewise, never null
    32  SHA-256 over the bytes of salt and of payload in UTF-8; of a redacted event, whose payload and salt are null, its
        payload_digest, which is that very hash; nothing where there never was a payload

A payload that was redacted has an ``event.redacted`` after it, whose facts have its ``seq``. What was kept of it is an
``event.retained`` right after that, whose facts have the same ``seq``; it is redacted in turn when the next one comes.

A checkpoint is one line ``{"format": …, "token": …}``, and for each run a line ``[run_uid, run_id, last_seq, hash,
tombstone]``, in order of run_uid. ``tombstone`` is null, or of a run that was archived by then the hash of the event
``run.archived`` that would follow its last one: at the time it was archived, without step, actor and payload, its facts
those in the column ``tombstone`` of its head. The events of such a run are in an archive alone. The token's claim
``root`` is the root of a Merkle tree over those lines, as in RFC 6962:

    leaf   SHA-256 over 00, run_uid (16), run_id (the number of its bytes (4), its bytes in UTF-8), last_seq (4), hash (32),
           and the tombstone (32) if there is one
    node   SHA-256 over 01 and the two below it. Of n leaves the left side has the greatest power of two less than n.
    empty  SHA-256 over nothing
"""

from __future__ import annotations

import argparse
import base64
import datetime
import gzip
import hashlib
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

Event = Mapping[str, Any]

ARCHIVE_FORMAT = "django-hookflow-archive-1"
LINE_FORMAT = "django-hookflow-event-1"
CHECKPOINT_FORMAT = "django-hookflow-checkpoint-1"
EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - as are the times it is compared with, which are all UTC
MICROSECOND = datetime.timedelta(microseconds=1)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Unreadable(Exception):
    """A file is not what it should be, so that nothing can be said about what it holds."""


# The hash of an event.


def event_hash(event: Event, previous: bytes) -> bytes:
    """The hash that ``event`` must have if ``previous`` is the hash of the event before."""
    return hashlib.sha256(
        b"HF1\0"
        + previous
        + uuid_bytes(event["run_uid"])
        + _integer(event["seq"], 4)
        + _integer((datetime.datetime.fromisoformat(event["recorded_at"][:-1]) - EPOCH) // MICROSECOND, 8)
        + _integer(event["version"], 2)
        + _text(event["type"])
        + _text_or_null(event["step_id"])
        + _text_or_null(event["actor"])
        + _text(event["facts"])
        + payload_digest(event)
    ).digest()


def first_previous(run_uid: str) -> bytes:
    """What stands for the hash of the event before the first."""
    return hashlib.sha256(uuid_bytes(run_uid)).digest()


def payload_digest(event: Event) -> bytes:
    """What an event's hash covers of its payload."""
    if event["payload_digest"] is not None:
        return bytes.fromhex(event["payload_digest"])
    if event["payload"] is None:
        return b""
    return hashlib.sha256(bytes.fromhex(event["salt"] or "") + event["payload"].encode()).digest()


def uuid_bytes(run_uid: str) -> bytes:
    return bytes.fromhex(run_uid.replace("-", ""))


def _integer(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big", signed=True)


def _text(value: str) -> bytes:
    data = value.encode()
    return _integer(len(data), 4) + data


def _text_or_null(value: str | None) -> bytes:
    return _integer(-1, 4) if value is None else _text(value)


# The chain of a run.

#: What may be wrong with an event, or with several that follow each other.
MISSING = "missing"
OUT_OF_ORDER = "not in seq order"
HASH_DOES_NOT_HOLD = "the hash does not match this event and the previous one"
DIGEST_BESIDE_PAYLOAD = "has both a payload or salt and the digest of a redacted payload"
REDACTION_NOT_ON_RECORD = "the payload was redacted, but no event records by whom and why"
NOT_REDACTED = "names an event as redacted that is not redacted"
RETAINED_WITHOUT_REDACTION = "keeps part of an event's payload, but its redaction is not recorded right before"
RETAINED_TOO_LONG = "keeps data that was redacted later"
NOT_OF_CHECKPOINT = "differs from the event in the checkpoint"


@dataclass(frozen=True)
class Problem:
    """What does not hold: of the events from ``first`` to ``last`` of a run, of a run (None), or of all ("")."""

    what: str
    run: str = ""
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if not self.run:
            return self.what
        events = "" if self.first is None else f" #{self.first}"
        if self.last != self.first:
            events += f" to #{self.last}"
        return f"run {self.run}{events}: {self.what}"


@dataclass
class CheckedRun:
    """What came of checking one run: where its chain ends, its names (run_id and workflow, None if its
    first event does not hold), whether it has the event that a checkpoint knows, and what is wrong with it."""

    run_uid: str
    name: str
    events: int = 0
    last_seq: int = 0
    head_hash: bytes = b""
    names: tuple[Any, Any] | None = None
    is_proved: bool = False
    problems: list[Problem] = field(default_factory=list)

    def add(self, what: str, first: int | None = None, last: int | None = None) -> None:
        """Adds a problem; the same one of the event before becomes one with it."""
        before = self.problems[-1] if self.problems else None
        if before is not None and first is not None and (before.what, before.last) == (what, first - 1):
            self.problems[-1] = Problem(what, self.name, before.first, last or first)
        else:
            self.problems.append(Problem(what, self.name, first, last or first))


@dataclass(frozen=True)
class Known:
    """What a checkpoint knows of a run: it had ``last_seq`` events, the last of which had this hash; and the hash of its
    tombstone, if it was archived."""

    run_uid: str
    run_id: str
    last_seq: int
    hash: bytes
    tombstone: bytes | None = None


def check_run(run_uid: str, events: Iterable[Event], known: Known | None = None, name: str | None = None) -> CheckedRun:
    """Recomputes the chain of one run from its first event on, and holds it against what a checkpoint knows of it.

    Problems call the run by its ``name``, or by its uid.
    """
    run = CheckedRun(run_uid, name or run_uid, head_hash=first_previous(run_uid))
    redactions = _Redactions()
    for event in events:
        _check_event(run, event)
        redactions.add(event)
        if known is not None and known.last_seq == event["seq"]:
            run.is_proved = known.hash == run.head_hash
            if not run.is_proved:
                run.add(NOT_OF_CHECKPOINT, event["seq"])
    for seq, what in redactions.find_problems():
        run.add(what, seq)
    if known is not None and run.names is not None and run.names[0] != known.run_id:
        run.add(f"was started as {run.names[0]!r}, but is {known.run_id!r} in the checkpoint")
    return run


def _check_event(run: CheckedRun, event: Event) -> None:
    seq, claimed = event["seq"], bytes.fromhex(event["hash"])
    if seq <= run.last_seq:
        run.add(OUT_OF_ORDER, seq)
    elif seq > run.last_seq + 1:
        run.add(MISSING, run.last_seq + 1, seq - 1)
    elif event["payload_digest"] is not None and (event["payload"] is not None or event["salt"] is not None):
        run.add(DIGEST_BESIDE_PAYLOAD, seq)
    elif not holds(event, run.head_hash):
        run.add(HASH_DOES_NOT_HOLD, seq)
    elif seq == 1:
        facts = facts_of(event)
        run.names = facts.get("run_id"), facts.get("workflow")
    run.events += 1
    run.last_seq, run.head_hash = seq, claimed


def holds(event: Event, previous: bytes) -> bool:
    """Whether the event has the hash that it must have after ``previous``."""
    try:
        return event_hash(event, previous) == bytes.fromhex(event["hash"])
    except (ValueError, TypeError, AttributeError, OverflowError):  # such as a time of infinity
        return False


def facts_of(event: Event) -> dict[str, Any]:
    """The facts of an event; none if they are no JSON object, which the application never writes."""
    try:
        facts = json.loads(event["facts"])
    except (ValueError, TypeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


class _Redactions:
    """The redacted events of a run, held against what is on record about them."""

    def __init__(self) -> None:
        self._redacted = set[str]()
        self._on_record: dict[str, list[int]] = {}  # of which event: at which seqs
        self._retained: list[tuple[int, str, bool]] = []  # seq, of which event, whether it was redacted in turn

    def add(self, event: Event) -> None:
        is_redacted = event["payload_digest"] is not None
        if event["type"] == "event.redacted":
            self._on_record.setdefault(_target(event), []).append(event["seq"])
        if event["type"] == "event.retained":
            self._retained.append((event["seq"], _target(event), is_redacted))
        elif is_redacted:
            self._redacted.add(str(event["seq"]))

    def find_problems(self) -> Iterator[tuple[int, str]]:
        for seq in sorted(map(int, self._redacted - self._on_record.keys())):
            yield seq, REDACTION_NOT_ON_RECORD
        for target, seqs in self._on_record.items():
            if target not in self._redacted:
                yield from ((seq, NOT_REDACTED) for seq in seqs)
        for seq, target, is_redacted in self._retained:
            on_record = self._on_record.get(target, [])
            if seq - 1 not in on_record:
                yield seq, RETAINED_WITHOUT_REDACTION
            elif is_redacted != (seq < max(on_record)):
                yield seq, REDACTION_NOT_ON_RECORD if is_redacted else RETAINED_TOO_LONG


def _target(event: Event) -> str:
    """The seq of the event that a redaction, or what it retained, is about."""
    return str(facts_of(event).get("seq"))


# Files of events.

#: Where a run ends, and its names: seq, hash, run_id and workflow.
End = tuple[int, str, Any, Any]


@dataclass
class CheckedFile:
    """What came of checking one file: where each of its runs ends, and which have the event that a checkpoint knows."""

    path: Path
    events: int = 0
    ends: dict[str, End] = field(default_factory=dict)
    proved: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ", ".join(
            [_counted(len(self.ends), "run"), _counted(self.events, "event"), _counted(len(self.problems), "problem")]
        )
        proved = f", {_counted(len(self.proved), 'run')} proved by the checkpoint" if self.proved else ""
        return f"{self.path}: {counts}{proved}"


def _counted(number: int, what: str) -> str:
    """Of terminals.py, but this file stands alone."""
    return f"{number:,} {what}{'' if number == 1 else 's'}" if number else f"no {what}s"


def check_archive(path: Path, known: Iterable[Known] = ()) -> CheckedFile:
    """Checks a file of events, and the manifest of an archive. Never raises for what a file holds.

    ``known`` is what a checkpoint knows of runs, in order: an event that it knows otherwise is a problem. That a run ends
    before it is none yet, for the rest may be in another file: see :func:`find_unproved`.
    """
    checked = CheckedFile(path)
    try:
        manifest = read_manifest(path)
        _check_lines(checked, iter(known))
        if not checked.events:
            checked.problems.append(f"{path}: contains no events, so there is nothing to verify")
        if manifest is not None:
            _check_manifest(checked, manifest)
    except (OSError, Unreadable, EOFError, zlib.error, UnicodeError) as error:
        checked.problems.append(f"{path}: {getattr(error, 'strerror', None) or error}")
    return checked


def _check_lines(checked: CheckedFile, known: Iterator[Known]) -> None:
    candidate, last_uid = next(known, None), ""
    for run_uid, events in itertools.groupby(read_events(checked.path), key=lambda event: str(event["run_uid"])):
        if run_uid <= last_uid:
            checked.problems.append(f"run {run_uid}: its events are not contiguous, or the runs are not in order")
        while candidate is not None and candidate.run_uid < run_uid:
            candidate = next(known, None)
        proof = candidate if candidate is not None and candidate.run_uid == run_uid else None
        run = check_run(run_uid, events, proof)
        checked.events += run.events
        if run.is_proved:
            checked.proved.add(run_uid)
        checked.problems += map(str, run.problems)
        checked.ends[run_uid] = run.last_seq, run.head_hash.hex(), *(run.names or (None, None))
        last_uid = run_uid


def find_unproved(known: Iterable[Known], files: Sequence[CheckedFile]) -> Iterator[Problem]:
    """The runs that a checkpoint knows and that none of the files has as far as that."""
    proved = set[str]().union(*(file.proved for file in files))
    for run in known:
        if run.run_uid in proved:
            continue
        last_seq = max((file.ends[run.run_uid][0] for file in files if run.run_uid in file.ends), default=0)
        there = f"ends at #{last_seq}" if last_seq else f"{run.run_id!r} is not in any of the files"
        if last_seq < run.last_seq:  # else the file's own problems say it
            yield Problem(f"{there}, but the checkpoint has it up to #{run.last_seq}", run.run_uid)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a file, each with the members and types that a line must have. Raises Unreadable."""
    with _opened(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                event = json.loads(line)
                assert_is_event(event)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                raise Unreadable(f"line {number} is not an event: {error}") from error
            yield event


def assert_is_event(event: Any) -> None:
    """Raises ValueError, TypeError or KeyError for what :func:`event_hash` could not take."""
    if not UUID.fullmatch(event["run_uid"]):
        raise ValueError("run_uid is not a UUID in lower case")
    bytes.fromhex(event["hash"] + (event["salt"] or "") + (event["payload_digest"] or ""))
    if not event["recorded_at"].endswith("Z"):
        raise ValueError("recorded_at does not end with Z")
    event_hash(event, b"")


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    # Universal newlines would take a lone carriage return for the end of a line.
    if path.name.endswith(".gz"):
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            yield lines
    else:
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield lines


# Manifests.


def manifest_path(path: Path) -> Path:
    """Where the manifest of an archive is."""
    return path.parent / (path.name.removesuffix(".gz").removesuffix(".jsonl") + ".manifest.json")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of an archive, None for a file that has none. Raises Unreadable, also if the file is not the one."""
    beside = manifest_path(path)
    if not beside.exists():
        return None
    try:
        manifest = json.loads(beside.read_text(encoding="utf-8"))
        if manifest["format"] != ARCHIVE_FORMAT:
            raise Unreadable(f"{beside.name} has the format {manifest['format']!r}, expected {ARCHIVE_FORMAT!r}")
        if manifest["lines"] != LINE_FORMAT:
            raise Unreadable(f"its lines have the format {manifest['lines']!r}, expected {LINE_FORMAT!r}")
        if manifest["file"] != path.name or manifest["sha256"] != file_digest(path):
            raise Unreadable(f"does not match the digest in {beside.name}")
        _integer(manifest["events"], 8)
        for run in manifest["runs"]:
            _assert_is_end(run)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Unreadable(f"{beside.name} is not a manifest: {error!r}") from error
    return dict(manifest)


def _assert_is_end(run: Any) -> None:
    """Raises one of what :func:`read_manifest` expects for what is not the end of a run."""
    texts = [run[name] for name in ("run_uid", "run_id", "workflow_id", "head_hash")]
    if not all(isinstance(text, str) for text in texts) or not UUID.fullmatch(run["run_uid"]):
        raise ValueError(f"{run!r:.100} is not a run")
    _integer(run["last_seq"], 4)
    bytes.fromhex(run["head_hash"])


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_manifest(checked: CheckedFile, manifest: dict[str, Any]) -> None:
    ends = checked.ends
    listed: dict[str, End] = {
        run["run_uid"]: (run["last_seq"], run["head_hash"], run["run_id"], run["workflow_id"])
        for run in manifest["runs"]
    }
    for run_uid in sorted(listed.keys() | ends.keys()):
        if listed.get(run_uid) != ends.get(run_uid):
            checked.problems.append(
                f"run {run_uid}: the manifest has {_describe(listed.get(run_uid))}, the file {_describe(ends.get(run_uid))}"
            )
    if manifest["events"] != checked.events:
        checked.problems.append(f"{checked.path}: {checked.events} events, the manifest has {manifest['events']}")


def _describe(end: End | None) -> str:
    return "no such run" if end is None else f"{end[2]!r} of {end[3]!r} up to #{end[0]} {end[1][:8]}…"


# Checkpoints.


class MerkleTree:
    """The root over leaves given one by one; holds no more of them than the tree is high."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []  # complete subtrees from the left: how many leaves, and the hash

    def add(self, leaf: bytes) -> None:
        size = 1
        while self._peaks and self._peaks[-1][0] == size:
            leaf = _node(self._peaks.pop()[1], leaf)
            size *= 2
        self._peaks.append((size, leaf))

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256().digest()
        *left, (_, root) = self._peaks
        for _, peak in reversed(left):
            root = _node(peak, root)
        return root


def leaf_hash(known: Known) -> bytes:
    run = uuid_bytes(known.run_uid) + _text(known.run_id) + _integer(known.last_seq, 4)
    return hashlib.sha256(b"\0" + run + known.hash + (known.tombstone or b"")).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def read_token(path: Path) -> str:
    """The token of a checkpoint. Raises Unreadable."""
    with _opened(path) as lines:
        try:
            first = json.loads(next(lines))
            if first["format"] != CHECKPOINT_FORMAT:
                raise Unreadable(f"{path} has the format {first['format']!r}, expected {CHECKPOINT_FORMAT!r}")
            return str(first["token"])
        except (StopIteration, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Unreadable(f"{path} is not a checkpoint") from error


def read_known(path: Path) -> Iterator[Known]:
    """What a checkpoint says of each run. Raises Unreadable."""
    last_uid = ""
    with _opened(path) as lines:
        for number, line in enumerate(itertools.islice(lines, 1, None), start=2):
            try:
                run_uid, run_id, last_seq, hash_, tombstone = json.loads(line)
                known = Known(run_uid, run_id, last_seq, _hash(hash_), None if tombstone is None else _hash(tombstone))
                leaf_hash(known)
                if not UUID.fullmatch(run_uid) or run_uid <= last_uid:
                    raise Unreadable(
                        f"{path}: line {number} is out of order: its run must come after that of the previous line"
                    )
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                raise Unreadable(f"{path}: line {number} is not a run") from error
            last_uid = run_uid
            yield known


def _hash(text: str) -> bytes:
    """Of 32 bytes: two that stand next to each other in a leaf could otherwise be divided in another place."""
    if len(text) != 64:
        raise ValueError("a hash has 32 bytes")
    return bytes.fromhex(text)


def check_checkpoint(path: Path) -> dict[str, Any]:
    """The claims of a checkpoint whose lines are those its token was made for. Raises Unreadable if they are not.

    The signature is not looked at: without that, this says no more than that the file has not lost or changed a line.
    """
    claims = _claims(read_token(path))
    tree, runs = MerkleTree(), 0
    for known in read_known(path):
        tree.add(leaf_hash(known))
        runs += 1
    if (runs, tree.root().hex()) != (claims.get("runs"), claims.get("root")):
        raise Unreadable(
            f"{path}: its {runs} lines do not match the {claims.get('runs')} signed runs: the root hash is "
            f"{tree.root().hex()[:16]}…, expected {str(claims.get('root'))[:16]}…"
        )
    return claims


def _claims(token: str) -> dict[str, Any]:
    try:
        body = token.split(".")[1]
        return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (IndexError, ValueError, TypeError) as error:
        raise Unreadable("the token of the checkpoint is not a JSON Web Token") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Recomputes the hashes of exported events of django-hookflow.")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="also compare the runs with this checkpoint")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="an archive, or JSON Lines written by psql")
    options = parser.parse_args(arguments)
    if options.checkpoint is not None:
        try:
            claims = check_checkpoint(options.checkpoint)
        except (OSError, Unreadable, UnicodeError) as error:
            print(f"{options.checkpoint}: {error}")
            return 1
        print(
            f"{options.checkpoint}: {_counted(claims['runs'], 'run')}, root {claims['root']}; the signature is not verified here"
        )
    checked = [check_archive(path, _known(options.checkpoint)) for path in options.files]
    for file in checked:
        print(*file.problems, file, sep="\n")
    unproved = list(find_unproved(_known(options.checkpoint), checked))
    print(*unproved, sep="\n", end="\n" if unproved else "")
    return 1 if unproved or any(file.problems for file in checked) else 0


def _known(checkpoint: Path | None) -> Iterable[Known]:
    return () if checkpoint is None else read_known(checkpoint)


if __name__ == "__main__":
    sys.exit(main())
