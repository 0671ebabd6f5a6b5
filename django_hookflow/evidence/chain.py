"""The chain of one run that does not hold, followed from its first event as far as hashes lead.

An event tells by its hash which place is its own: only there, after the event that was before it, does the hash come out.
So a walk from place to place looks for the event that belongs there, in that place first and then in the others, and
where none does, whether the next one follows from what stands there all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from django_hookflow.evidence.audit import Event, event_hash, first_previous

#: How many events may have been taken out in one place for the walk to notice that later ones were renumbered.
FARTHEST_SHIFT = 1_000
#: With so many events that fit nowhere there is no sense in going on.
MOST_FOREIGN = 20
#: With more misfits than this a place is looked for among its neighbours only: it is about a shift then, not about swaps.
MISFITS_TO_TRY = 200


@dataclass
class Walk:
    """What a walk found. Seqs are those at which events stand; ``places`` maps each that moved to the place it had."""

    last_seq: int = 0  # the last place, and where its event stands
    last_stored: int = 0
    last_hash: bytes | None = None
    missing: list[tuple[int, int]] = field(default_factory=list)  # first and last of each gap
    places: dict[int, int] = field(default_factory=dict)
    inserted: list[int] = field(default_factory=list)
    renumbered: dict[int, int] = field(default_factory=dict)  # at this seq so many events had gone before it
    changed: dict[int, bytes] = field(default_factory=dict)  # its hash stands, what it covers does not: the hash before
    rehashed: list[int] = field(default_factory=list)  # what it holds stands, its hash does not
    foreign: list[int] = field(default_factory=list)  # neither fits
    gave_up: bool = False


def fits(event: Event, previous: bytes, **changed: object) -> bool:
    """Whether the event has the hash it must have after ``previous``, were it not for what is ``changed``."""
    return computed_hash({**event, **changed}, previous) == bytes.fromhex(event["hash"])


def computed_hash(event: Event, previous: bytes) -> bytes | None:
    """The hash an event should have; None for what no append could have written, such as a time of infinity."""
    try:
        return event_hash(event, previous)
    except (ValueError, TypeError, OverflowError):
        return None


class Walker:
    """Walks over the events of a run.

    ``end`` is what its head has for the seq and the hash of the last; ``recognises`` says of an event and the hash before
    it whether the event's own hash is the one that was recorded, if something in it had not been changed.
    """

    def __init__(
        self,
        run_uid: str,
        events: list[Event],
        end: tuple[int, bytes] | None,
        recognises: Callable[[Event, bytes], bool],
    ) -> None:
        self._recognises = recognises
        self._stored: dict[int, Event] = {event["seq"]: event for event in events}
        self._genesis = first_previous(run_uid)
        self._end = end
        self._misfits = [seq for seq in self._stored if not self._fits_in_place(seq)]
        self._used = set[int]()

    def walk(self) -> Walk:
        walk = Walk()
        previous: bytes | None = self._genesis
        seq, shift, end = 1, 0, max(self._stored, default=0)
        while seq <= end and len(walk.foreign) < MOST_FOREIGN:
            place = seq + shift
            found = self._find(seq, place, previous)
            if found is not None:
                previous = self._take(walk, found, place)
            elif seq in self._stored and seq not in self._used and previous is not None:
                previous, gap = self._judge(walk, seq, place, previous)
                shift += gap
            elif seq not in self._stored:
                following = min(other for other in self._stored if other > seq)
                walk.missing.append((place, following - 1 + shift))
                seq, previous = following, None
                continue
            else:  # its event was found in another place
                seq += 1
                continue
            walk.last_seq, walk.last_hash = seq + shift, previous
            seq += 1
        walk.gave_up = seq <= end
        walk.inserted = [] if walk.gave_up else sorted(set(self._stored) - self._used)
        return walk

    def _take(self, walk: Walk, seq: int, place: int) -> bytes | None:
        self._used.add(seq)
        walk.last_stored = seq
        if seq + sum(walk.renumbered.values()) != place:
            walk.places[seq] = place
        return self._hash(seq)

    def _fits_in_place(self, seq: int) -> bool:
        previous = self._genesis if seq == 1 else self._hash(seq - 1)
        return previous is None or fits(self._stored[seq], previous)

    def _hash(self, seq: int) -> bytes | None:
        return bytes.fromhex(self._stored[seq]["hash"]) if seq in self._stored else None

    def _find(self, seq: int, place: int, previous: bytes | None) -> int | None:
        """Where the event stands that belongs in ``place``; after a gap whatever stands there is taken for it."""
        if previous is None:
            return seq if seq in self._stored and seq not in self._used else None
        nearest = self._misfits if len(self._misfits) <= MISFITS_TO_TRY else [seq - 1]
        for candidate in [other for other in (seq, seq + 1) if other in self._stored] + nearest:
            if candidate not in self._used and fits(self._stored[candidate], previous, seq=place):
                return candidate
        return None

    def _judge(self, walk: Walk, seq: int, place: int, previous: bytes) -> tuple[bytes | None, int]:
        """What became of the event at ``seq``, which does not belong there: the hash to go on from, and how far
        the places of those that follow have shifted."""
        event, hash_ = self._stored[seq], self._hash(seq)
        assert hash_ is not None
        recomputed = computed_hash({**event, "seq": place}, previous)
        self._used.add(seq)
        walk.last_stored = seq
        if self._leads_on(seq, place, hash_) or self._recognises(event, previous):
            walk.changed[seq] = previous
            return hash_, 0
        if recomputed is not None and self._leads_on(seq, place, recomputed):
            walk.rehashed.append(seq)
            return recomputed, 0
        shift = self._find_shift(seq, place, hash_)
        if shift:
            walk.renumbered[seq] = shift
            return hash_, shift
        walk.foreign.append(seq)
        return None, 0

    def _leads_on(self, seq: int, place: int, hash_: bytes) -> bool:
        """Whether something follows from an event in ``place`` with this hash: the next event, or the end of the run."""
        if (place, hash_) == self._end:
            return True
        return any(
            other not in self._used and other != seq and fits(self._stored[other], hash_, seq=place + 1)
            for other in {seq + 1, *self._misfits[:MISFITS_TO_TRY]} & self._stored.keys()
        )

    def _find_shift(self, seq: int, place: int, hash_: bytes) -> int:
        if self._end is not None and self._end[1] == hash_ and self._end[0] > place:
            return self._end[0] - place
        following = self._stored.get(seq + 1)
        if following is None:
            return 0
        shifts = range(1, FARTHEST_SHIFT + 1)
        return next((shift for shift in shifts if fits(following, hash_, seq=place + 1 + shift)), 0)
