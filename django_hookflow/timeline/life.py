"""The life of a run, from the trigger on: what it is in at each moment, without a gap and without an overlap."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from django_hookflow.timeline.story import BUSY, Kind, Segment


@dataclass(frozen=True, eq=False)
class State:
    """What a run can be in. ``wait`` and the rest are of a wait; ``is_in_row``: the row of its step shows it."""

    kind: Kind
    wait: str = ""
    until: datetime.datetime | None = None
    attempt: int = 0
    is_in_row: bool = False
    key: str = ""

    def segment(self, start: datetime.datetime, end: datetime.datetime | None, seq: int) -> Segment:
        return Segment(self.kind, start, end, self.until, self.attempt, seq=seq, wait=self.wait, key=self.key)


RUNNING, LOST, WAITING = State("running"), State("lost"), State("waiting")
#: Of a run that has ended; it shows if the run goes on after all.
ENDED = State("stopped")


class Life:
    """The states a run was in, one after another."""

    def __init__(self) -> None:
        self._changes: list[tuple[State, datetime.datetime, int]] = []

    @property
    def state(self) -> State | None:
        return self._changes[-1][0] if self._changes else None

    def enter(self, state: State, moment: datetime.datetime, seq: int) -> None:
        """From ``moment`` on the run is in ``state``, by the event ``seq``."""
        if state is not self.state:
            before = self._changes[-1][1] if self._changes else moment
            self._changes.append((state, max(before, moment), seq))

    def segments(self, now: datetime.datetime | None) -> Iterator[tuple[Segment, bool]]:
        """All stretches, and of each whether a row shows it; a time that is over by ``now`` is over."""
        following: list[tuple[State, datetime.datetime, int] | None] = [*self._changes[1:], None]
        for (state, start, began), change in zip(self._changes, following, strict=True):
            if change is not None:
                yield from _between(state, start, change[1], change[2])
            elif state is not ENDED:
                yield from _open(state, start, now, began)


def _between(
    state: State, start: datetime.datetime, end: datetime.datetime, seq: int
) -> Iterator[tuple[Segment, bool]]:
    """A wait for a time is over then; after that the run waits for a delivery."""
    over = end if state.until is None else min(end, max(start, state.until))
    if start < over or state.kind in BUSY:
        yield state.segment(start, over, seq), state.is_in_row
    if over < end:
        yield WAITING.segment(over, end, seq), False


def _open(
    state: State, start: datetime.datetime, now: datetime.datetime | None, seq: int
) -> Iterator[tuple[Segment, bool]]:
    if now is not None and state.until is not None and state.until <= now:
        over = max(start, state.until)
        yield state.segment(start, over, seq), state.is_in_row
        yield WAITING.segment(over, None, seq), False
    else:
        yield state.segment(start, None, seq), state.is_in_row
