"""Where a moment of a run is drawn: time on a line from 0 to 1, long idle stretches collapsed to a break."""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from django_hookflow.timeline.story import BUSY, Story

#: An idle stretch is collapsed when it is longer than this many times everything that is shown beside it.
LONG = 3.0
#: The share of the line that a collapsed stretch has, and that all of them have at most.
BREAK_SHARE = 0.12
ALL_BREAKS_SHARE = 0.6


@dataclass(frozen=True)
class Break:
    """A collapsed stretch: what it leaves out, and where on the line it is."""

    start: datetime.datetime
    end: datetime.datetime
    left: float
    right: float

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


class Scale:
    """The line for a story up to ``now``; ``linear`` collapses nothing."""

    def __init__(self, story: Story, now: datetime.datetime, *, linear: bool = False) -> None:
        self.start = story.start or now
        self.end = max(self.start, story.end or now, story.last_at or now)
        self.breaks: list[Break] = []
        # A run that nobody has worked on has nothing that a long wait could crowd out.
        idle = list(_idle_stretches(story, self.end)) if story.turns and not linear else []
        shown, collapsed = self._divide(idle)
        each = min(BREAK_SHARE, ALL_BREAKS_SHARE / len(collapsed)) if collapsed else 0.0
        per_second = (1 - each * len(collapsed)) / shown if shown > 0 else 0.0
        #: Knots of the piecewise linear map: moments, and where they are.
        self._moments, self._places = [self.start], [0.0]
        for start, end in collapsed:
            left = self._places[-1] + self._length(self._moments[-1], start) * per_second
            self._moments += [start, end]
            self._places += [left, left + each]
            self.breaks.append(Break(start, end, left, left + each))
        self._moments.append(self.end)
        self._places.append(1.0)

    def at(self, moment: datetime.datetime) -> float:
        """Where ``moment`` is on the line, from 0 to 1."""
        if moment <= self.start:
            return 0.0
        if moment >= self.end:
            return 1.0
        after = bisect.bisect_right(self._moments, moment)
        (start, end), (left, right) = self._moments[after - 1 : after + 1], self._places[after - 1 : after + 1]
        length = self._length(start, end)
        return left + (right - left) * (self._length(start, moment) / length if length else 0.0)

    def _divide(
        self, idle: list[tuple[datetime.datetime, datetime.datetime]]
    ) -> tuple[float, list[tuple[datetime.datetime, datetime.datetime]]]:
        """Seconds that are shown as they are, and the stretches that are not, in order."""
        lengths = sorted((self._length(*stretch), stretch) for stretch in idle)
        shown = max(0.001, self._length(self.start, self.end) - sum(length for length, _ in lengths))
        for number, (length, _) in enumerate(lengths):
            if length > LONG * shown:
                return shown, sorted(stretch for _, stretch in lengths[number:])
            shown += length
        return shown, []

    @staticmethod
    def _length(start: datetime.datetime, end: datetime.datetime) -> float:
        return (end - start).total_seconds()


def _idle_stretches(story: Story, until: datetime.datetime) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Where nobody works on the run; neighbours are one stretch."""
    start = end = None
    for segment in story.life:
        if segment.kind in BUSY:
            if start is not None and end is not None:
                yield start, end
            start = end = None
        else:
            start, end = start or segment.start, segment.end or until
    if start is not None and end is not None and end > start:
        yield start, min(end, until)
