"""Where a moment stands on a drawing, in percent of its width: linear, but for idle stretches, which are collapsed.

One scale for the page and the terminal.
"""

from __future__ import annotations

import datetime
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django_hookflow.durations import format_duration
from django_hookflow.timeline.story import TurnSpan

#: What a collapsed stretch is drawn as, in percent of the width, and what all of them together may take.
BREAK_WIDTH = 11.0
BREAKS_WIDTH = 55.0
#: A stretch in which nothing runs is collapsed when it is so many times as long as everything that does run, and this long.
IDLE_FACTOR = 1.5
IDLE_SECONDS = 0.5
#: The distance between two words of the ruler, in percent.
BETWEEN_WORDS = 11.0

Interval = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """A stretch of time, in seconds from the start, and where it is drawn, in percent."""

    start: float
    end: float
    left: float
    right: float
    is_break: bool

    def place(self, seconds: float) -> float:
        if self.end <= self.start:
            return self.left
        return self.left + (self.right - self.left) * (seconds - self.start) / (self.end - self.start)

    @property
    def width(self) -> float:
        return round(self.right - self.left, 3)

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    @property
    def words(self) -> str:
        return format_duration(self.end - self.start)


@dataclass(frozen=True)
class Tick:
    """A word of the ruler; a minor one has others near it and goes where there is little width."""

    place: float
    words: str
    is_minor: bool = False


class Scale:
    """The time from ``start`` to ``end``. ``busy`` is when something ran; what lies between may be collapsed.

    Where nothing has run, there is nothing that a long wait could crowd out, and nothing is collapsed.
    """

    def __init__(
        self,
        start: datetime.datetime,
        end: datetime.datetime,
        busy: Iterable[tuple[datetime.datetime, datetime.datetime]],
        *,
        is_linear: bool = False,
    ) -> None:
        self.start, self.end = start, end
        self.length = max((end - start).total_seconds(), 0.001)
        ran = merged((max(0.0, self._seconds(a)), min(self.length, self._seconds(b))) for a, b in busy)
        idle = idle_stretches(ran, self.length) if ran and not is_linear else []
        self.pieces = lay_out(idle, self.length)
        self._starts = [piece.start for piece in self.pieces]

    def _seconds(self, moment: datetime.datetime) -> float:
        return (moment - self.start).total_seconds()

    def place(self, moment: datetime.datetime) -> float:
        """Percent from the left; what lies outside is at the nearer edge."""
        seconds = min(max(self._seconds(moment), 0.0), self.length)
        return round(self.pieces[max(0, bisect_right(self._starts, seconds) - 1)].place(seconds), 3)

    @property
    def breaks(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.is_break]

    def ticks(self) -> list[Tick]:
        """Round numbers of seconds since the start, or since the last break, as far apart as their words need."""
        taken = [piece.middle for piece in self.breaks]
        found: list[Tick] = []
        for number, piece in enumerate(self.pieces):
            if piece.is_break or piece.right - piece.left < BETWEEN_WORDS:
                continue
            length = piece.end - piece.start
            step = round_step(length * BETWEEN_WORDS / (piece.right - piece.left))
            for count in range(1 if number else 0, math.floor(length / step) + 1):
                place = piece.place(piece.start + count * step)
                nearest = min((abs(place - other) for other in taken), default=100.0)
                if place <= 100 - BETWEEN_WORDS / 2 and nearest >= BETWEEN_WORDS * 0.9:
                    taken.append(place)
                    words = f"{'+' if number else ''}{ruler_words(count * step, step)}"
                    found.append(Tick(round(place, 3), words, is_minor=nearest < 2 * BETWEEN_WORDS))
        return found


def busy_times(turns: Iterable[TurnSpan], now: datetime.datetime) -> list[tuple[datetime.datetime, datetime.datetime]]:
    """When somebody worked on a run: from when to when, up to ``now``."""
    return [(turn.start, turn.end or now) for turn in turns]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time without overlaps, in order."""
    found: list[Interval] = []
    for start, end in sorted(interval for interval in intervals if interval[1] >= interval[0]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def idle_stretches(ran: Sequence[Interval], length: float) -> list[Interval]:
    """What to collapse: the longest stretches in which nothing ran, each much longer than all that did."""
    edges = [0.0, *(edge for interval in ran for edge in interval), length]
    gaps = [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2) if edges[i + 1] > edges[i]]
    worked = sum(end - start for start, end in ran)
    threshold = max(IDLE_SECONDS, IDLE_FACTOR * worked)
    long = [gap for gap in gaps if gap[1] - gap[0] > threshold]
    longest = sorted(long, key=lambda gap: gap[0] - gap[1])[: int(BREAKS_WIDTH / BREAK_WIDTH)]
    return sorted(longest)


def lay_out(breaks: Sequence[Interval], length: float) -> list[Piece]:
    """The pieces from the left edge to the right one: breaks of one width, the rest in proportion."""
    edges = [0.0, *(edge for interval in breaks for edge in interval), length]
    shown = sum(edges[i + 1] - edges[i] for i in range(0, len(edges), 2))
    width = 100.0 - BREAK_WIDTH * len(breaks) if shown > 0 else 0.0
    break_width = BREAK_WIDTH if shown > 0 else 100.0 / len(breaks)
    pieces: list[Piece] = []
    left = 0.0
    for i, (start, end) in enumerate(pairwise(edges)):
        is_break = i % 2 == 1
        right = left + (break_width if is_break else width * (end - start) / shown if shown else 0.0)
        pieces.append(Piece(start, end, left, right, is_break))
        left = right
    return pieces


def round_step(seconds: float) -> float:
    """The next number of seconds that people count in."""
    for step in (60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400):
        if seconds > 30 and seconds <= step:
            return float(step)
    if seconds > 86400:
        return 86400.0 * math.ceil(seconds / 86400)
    if seconds > 30:
        return 60.0
    power = 10.0 ** math.floor(math.log10(max(seconds, 1e-6)))
    return next((power * factor for factor in (1, 2, 5, 10) if power * factor >= seconds * 0.999), power * 10)


def ruler_words(seconds: float, step: float) -> str:
    if seconds == 0:
        return "0"
    if seconds < 1:
        return f"{round(seconds * 1000, 3):g} ms"
    if seconds < 60:
        return f"{round(seconds, 3):g} s"
    if step < 60:
        minutes, rest = divmod(seconds, 60)
        return f"{int(minutes)}:{rest:02.0f}" if step >= 1 else f"{int(minutes)}:{rest:06.3f}"
    if seconds < 3600:
        return f"{seconds / 60:g} min"
    return f"{seconds / 3600:.3g} h" if seconds < 2 * 86400 else f"{seconds / 86400:.3g} d"
