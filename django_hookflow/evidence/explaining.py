"""What was done to a run whose chain does not hold, in words: a sentence for each thing, with the seq where it shows.

A hash says that something is not as it was recorded, and not what. So what could have been there is tried: the value of
a column that other events, the head or the projections remember, another place, another run. What makes the hash come
out is what was recorded. For a payload there is nothing to try, so it is what remains when nothing else does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django_hookflow.events import types
from django_hookflow.evidence.audit import Event, first_previous, redacted_seq, unrecorded_redactions
from django_hookflow.evidence.chain import Walk, Walker, fits
from django_hookflow.projections.difference import printable

KNOWN_TYPES = frozenset(value for name, value in vars(types).items() if name.isupper() and isinstance(value, str))


@dataclass(frozen=True)
class Break:
    """One thing that is wrong with a run. ``seq`` is None where it is about the run as a whole, ``run_id`` "" for all."""

    run_id: str
    run_uid: str
    seq: int | None
    problem: str

    def __str__(self) -> str:
        if not self.run_id:
            return self.problem
        return f"run {printable(self.run_id)}{'' if self.seq is None else f' #{self.seq}'}: {self.problem}"


@dataclass(frozen=True)
class Gap:
    """A place without an event in another run, and the hash of the event before it, if that one is there."""

    run_uid: str
    run_id: str
    seq: int
    previous: bytes | None


@dataclass(frozen=True)
class Case:
    """A run as it stands: its head, its events, and times and step ids that its projections remember.

    ``gaps`` is asked for only when an event does not fit in at all.
    """

    run_uid: str
    head: dict[str, Any] | None
    events: list[Event]
    times: list[str]
    step_ids: list[str]
    gaps: Callable[[], Iterable[Gap]]

    @property
    def run_id(self) -> str:
        """The id its head has, else the one its first event tells, else its uid."""
        if self.head is not None:
            return str(self.head["run_id"])
        return str(_told_at_start(self.events).get("run_id", self.run_uid))


def explain(case: Case) -> list[Break]:
    """Everything that is wrong with a run, by seq."""
    head = case.head
    end = (head["last_seq"], bytes.fromhex(head["head_hash"])) if head is not None else None
    walk = Walker(case.run_uid, case.events, end, lambda *of: _find_column(case, *of) is not None).walk()
    found = [*_explain_extent(case, walk), *_explain_events(case, walk), *_explain_redactions(case, walk)]
    return [
        Break(case.run_id, case.run_uid, seq, problem) for seq, problem in sorted(found, key=lambda each: each[0] or 0)
    ]


Told = Iterator["tuple[int | None, str]"]


def _explain_extent(case: Case, walk: Walk) -> Told:
    """Head against log: where each of them ends, and whose they are."""
    head = case.head
    if head is None:
        span = _span(sorted(event["seq"] for event in case.events))
        yield None, f"has events {span} under the uid {case.run_uid}, and no head: it was removed"
    elif head["archived"]:
        if case.events:
            yield None, f"is marked as archived, and still has {len(case.events)} events"
    elif not case.events:
        yield None, f"its events #1 to #{head['last_seq']} are gone, its head is not that of an archived run"
    else:
        if not walk.gave_up:
            yield from _explain_end(head, walk, {event["seq"]: event for event in case.events})
        told = _told_at_start(case.events) if 1 not in walk.changed else {}
        for name in ("run_id", "workflow_id"):
            if told.get(name, head[name]) != head[name]:
                yield None, f"its head was changed: {name} is {head[name]!r}, it was started with {told[name]!r}"


def _explain_end(head: dict[str, Any], walk: Walk, stored: dict[int, Event]) -> Told:
    last_seq, hash_, last = head["last_seq"], bytes.fromhex(head["head_hash"]), walk.last_seq
    if last_seq > last and hash_ == walk.last_hash:
        yield None, f"its head was changed: it ends at #{last_seq}, and its hash is that of #{last}"
    elif last_seq > last:
        gone = f"#{last + 1} is" if last_seq == last + 1 else f"#{last + 1} to #{last_seq} are"
        yield last + 1, f"its tail was cut: its head ends at #{last_seq}, {gone} missing"
    elif last_seq < last and last_seq in stored and stored[last_seq]["hash"] == head["head_hash"]:
        yield last_seq + 1, f"was added after the end of the run: its head ends at #{last_seq}, the log at #{last}"
    elif last_seq < last:
        yield None, f"its head was changed: it ends at #{last_seq}, the log at #{last}"
    elif walk.last_hash is not None and hash_ != walk.last_hash:
        yield None, f"its head was changed: its hash is not that of #{last} (or #{last} was written anew, hash and all)"
    elif walk.last_stored not in walk.changed and stored[walk.last_stored]["recorded_at"] != head["last_at"]:
        recorded_at = stored[walk.last_stored]["recorded_at"]
        yield None, f"its head was changed: last_at is {head['last_at']}, #{last} was recorded at {recorded_at}"


def _explain_events(case: Case, walk: Walk) -> Told:
    stored = {event["seq"]: event for event in case.events}
    for first, last in walk.missing:
        yield first, "is missing" if first == last else f"is missing, and so are all up to #{last}"
    for span in _moved_together(walk.places):
        was = _span([walk.places[seq] for seq in span])
        yield (
            span[0],
            f"stands in the wrong place: {_span(span)} {'was' if len(span) == 1 else 'were'} recorded as {was}",
        )
    for seq in walk.inserted:
        yield seq, f"{_name(stored[seq])} was inserted: it has no place in the chain of this run"
    for seq, shift in walk.renumbered.items():
        yield (
            seq,
            f"events are missing before it: it was recorded as #{seq + shift}, and all from here on were renumbered",
        )
    for seq in walk.rehashed:
        yield seq, f"{_name(stored[seq])}: its hash was changed, what it holds was not"
    for seq, previous in walk.changed.items():
        yield seq, f"{_name(stored[seq])}: {_explain_change(case, stored[seq], previous)}"
    if walk.gave_up:
        yield (
            None,
            f"no more than #1 to #{walk.last_seq} of its {len(case.events)} events were looked at: too much does not fit",
        )
    for seq in walk.foreign:
        yield seq, f"{_name(stored[seq])}: {_explain_foreign(case, stored[seq])}"


def _explain_redactions(case: Case, walk: Walk) -> Told:
    redacted = {event["seq"]: event["type"] for event in case.events if event["payload_digest"] is not None}
    on_record = {redacted_seq(event): event["seq"] for event in case.events}
    for seq in unrecorded_redactions(redacted, on_record):
        yield seq, "its payload was redacted, and no event says by whom and why"
    for event in case.events:
        if event["seq"] in redacted and event["seq"] not in walk.changed:
            if event["payload"] is not None and _digest(event) != event["payload_digest"]:
                yield event["seq"], f"{_name(event)}: its payload was changed, behind the digest of the one recorded"
            elif event["payload"] is not None or event["salt"] is not None:
                yield event["seq"], f"{_name(event)}: a digest was put beside its payload, as only a redaction does"


def _digest(event: Event) -> str:
    return hashlib.sha256(bytes.fromhex(event["salt"] or "") + event["payload"].encode()).hexdigest()


def _explain_change(case: Case, event: Event, previous: bytes) -> str:
    """Which column of an event is not as it was recorded; the hash of the event before is known."""
    changed = _find_column(case, event, previous)
    if changed is not None:
        column, value = changed
        return f"its {column} was changed: {_show(value)} was recorded, {_show(event[column])} stands there"
    if event["payload_digest"] is not None:
        return "the redaction is forged: the digest is not that of the payload that was recorded"
    if event["payload"] is None:
        return "its payload was removed, and no digest took its place"
    if fits(event, previous, payload=None, salt=None):
        return "a payload was put there, it was recorded without one"
    what = (
        "its payload was changed"
        if event["recorded_at"] in _other_times(case, event)
        else "its payload or its time was changed"
    )
    return what if event["seq"] == 1 else f"{what} (or #{event['seq'] - 1} was written anew, hash and all)"


def _find_column(case: Case, event: Event, previous: bytes) -> tuple[str, Any] | None:
    """The column that is not as it was recorded, and what was recorded there; None if it is none that can be guessed."""
    for column, values in _alternatives(case, event).items():
        for value in sorted(values - {event[column]}, key=str):
            if fits(event, previous, **{column: value}):
                return column, value
    return None


def _alternatives(case: Case, event: Event) -> dict[str, set[Any]]:
    """What else each column may have held. Batches share a time, and projections keep the times of what they show."""
    others = case.events
    return {
        "type": {*KNOWN_TYPES, *(other["type"] for other in others)},
        "step_id": {None, *case.step_ids} | {other["step_id"] for other in others},
        "actor": {None} | {other["actor"] for other in others},
        "version": {1} | {other["version"] for other in others},
        "recorded_at": _other_times(case, event),
    }


def _other_times(case: Case, event: Event) -> set[str]:
    last_at = {case.head["last_at"]} if case.head is not None else set()
    return {*case.times, *(other["recorded_at"] for other in case.events if other is not event)} | last_at


def _explain_foreign(case: Case, event: Event) -> str:
    """Of an event that does not follow from the one before it, and from which nothing follows."""
    for gap in case.gaps():
        if gap.previous is not None and fits(event, gap.previous, run_uid=gap.run_uid, seq=gap.seq):
            return f"belongs to another run: it was recorded as #{gap.seq} of run {gap.run_id} and moved here"
    if fits(event, first_previous(event["run_uid"]), seq=1):
        return "was recorded as the first event of this run"
    if any(other["seq"] == event["seq"] + 1 for other in case.events):
        return f"what it holds was changed, and so was its hash, or what #{event['seq'] + 1} holds"
    return "neither what it holds nor its hash is what was recorded"


def _told_at_start(events: list[Event]) -> dict[str, Any]:
    """The payload of the first event as far as it can be read."""
    first = events[0] if events else None
    if first is None or first["seq"] != 1 or first["payload"] is None:
        return {}
    try:
        told = json.loads(first["payload"])
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _moved_together(places: dict[int, int]) -> Iterator[list[int]]:
    """Seqs that follow each other and stand in places that do."""
    together: list[int] = []
    for seq in sorted(places):
        if together and not (together[-1] == seq - 1 and places[seq - 1] == places[seq] - 1):
            yield together
            together = []
        together.append(seq)
    if together:
        yield together


def _span(seqs: list[int]) -> str:
    if not seqs:
        return "none"
    return f"#{seqs[0]}" if len(seqs) == 1 else f"#{seqs[0]} to #{seqs[-1]}"


def _name(event: Event) -> str:
    return printable(event["type"] if event["step_id"] is None else f"{event['type']} {event['step_id']}")


def _show(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
