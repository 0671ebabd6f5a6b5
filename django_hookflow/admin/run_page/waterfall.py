"""The waterfall of a run: its story, placed on a scale. The template draws it as it stands here, in percent of the width.

The first line is the run itself with its turns; then a line for each step. What is wide enough to be seen is at least
``MIN_WIDTH``, so that a step of a millisecond in a run of an hour has a mark, too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.utils.timezone import localtime

from django_hookflow.durations import format_duration
from django_hookflow.timeline.scale import Piece, Scale, Tick, busy_times
from django_hookflow.timeline.story import Row, Segment, Story, TurnSpan

MIN_WIDTH = 0.5
#: Lines that a page draws, and marks of one of them; a step is not often tried, slept or lost more often than that.
LINES_PER_PAGE = 100
MARKS_PER_LINE = 60

#: Drawn last, so that the pause after an attempt that failed within a moment does not cover it.
ON_TOP = ("failed", "lost")

#: What a kind of segment is called, in the order of the legend.
KINDS = {
    "running": "running",
    "failed": "failed attempt",
    "lost": "worker lost",
    "sleeping": "sleeping",
    "backoff": "waiting to retry",
    "suspended": "waiting for something",
    "waiting": "waiting for delivery",
    "held": "paused",
    "stopped": "stopped, needs action",
    "turn": "turn",
}


@dataclass(frozen=True)
class WaterfallMark:
    """One segment, ready to be drawn."""

    kind: str
    left: float
    width: float
    words: str
    is_open: bool = False

    @property
    def right(self) -> float:
        return round(self.left + self.width, 3)


@dataclass(frozen=True)
class WaterfallLine:
    """One row of the drawing and of the table: a step, or the run (``row`` is None)."""

    name: str
    state: str
    marks: list[WaterfallMark]
    took: str
    row: Row | None = None
    number: int = 0
    began: str = ""
    ran: str = ""
    waited: str = ""


@dataclass(frozen=True)
class Waterfall:
    run: WaterfallLine
    lines: list[WaterfallLine]
    ticks: list[Tick]
    breaks: list[Piece]
    turns: list[float]
    now: float | None
    is_linear: bool
    #: Which of how many steps these are, from 0.
    first: int = 0
    total: int = 0
    kinds: list[tuple[str, str]] = field(default_factory=list)
    #: How long after the trigger the ruler's zero is; "" where it is the trigger.
    zero: str = ""

    @property
    def last(self) -> int:
        return self.first + len(self.lines)

    @property
    def previous(self) -> int | None:
        return max(0, self.first - LINES_PER_PAGE) + 1 if self.first else None

    @property
    def next(self) -> int | None:
        return self.last + 1 if self.last < self.total else None


def draw(
    story: Story, now: datetime.datetime, *, is_living: bool, is_linear: bool = False, first: int = 0
) -> Waterfall:
    """The waterfall of ``story`` as it is at ``now``, with the steps from number ``first`` (counted from 0) on."""
    first = max(0, min(first, len(story.rows) - 1)) if story.rows else 0
    rows = story.rows[first : first + LINES_PER_PAGE]
    start, end = span_of(story, rows, first, now)
    turns = [turn for turn in story.turns if turn.start <= end and (turn.end or now) >= start]
    scale = Scale(start, end, busy_times(turns, now), is_linear=is_linear)
    pen = _Pen(scale, now, story.start or now)
    lines = [pen.line(row, number) for number, row in enumerate(rows, start=first + 1)]
    run = pen.run_line(story, turns, start, end)
    return Waterfall(
        run=run,
        lines=lines,
        ticks=scale.ticks(),
        breaks=scale.breaks,
        turns=sorted({scale.place(turn.start) for turn in turns[:MARKS_PER_LINE]}),
        now=scale.place(now) if is_living and start <= now <= end else None,
        is_linear=is_linear,
        first=first,
        total=len(story.rows),
        kinds=kinds_in([run, *lines]),
        zero=f"+{format_duration((start - story.start).total_seconds())}" if first and story.start else "",
    )


def span_of(
    story: Story, rows: list[Row], first: int, now: datetime.datetime
) -> tuple[datetime.datetime, datetime.datetime]:
    """From when to when the drawing goes: the whole run, or the part of a long one in which these rows lie."""
    begin = story.start or now
    ends = [end_of(segment, now) for row in rows for segment in row.segments[-1:]]
    if first:
        begin = min([row.start for row in rows if row.start], default=begin)
    if first + len(rows) < len(story.rows):
        return begin, max(ends, default=now)
    pauses = [end_of(wait, now) for wait in story.waits[-1:]]
    return begin, max([story.end or now, *ends, *pauses])


def end_of(segment: Segment, now: datetime.datetime) -> datetime.datetime:
    """When it ended, or will: a sleep is drawn to the time it is to end."""
    return segment.end or max(now, segment.until or now)


def kinds_in(lines: Iterable[WaterfallLine]) -> list[tuple[str, str]]:
    """The kinds that are drawn, with their names: the legend."""
    seen = {mark.kind for line in lines for mark in line.marks}
    return [(kind, words) for kind, words in KINDS.items() if kind in seen]


class _Pen:
    def __init__(self, scale: Scale, now: datetime.datetime, origin: datetime.datetime) -> None:
        self._scale = scale
        self._now = now
        self._origin = origin

    def line(self, row: Row, number: int) -> WaterfallLine:
        marks = [self._segment(segment) for segment in row.segments[-MARKS_PER_LINE:]]
        marks.sort(key=lambda mark: mark.kind in ON_TOP)
        waited = row.waited(self._now)
        return WaterfallLine(
            name=row.step_id,
            state="superseded" if row.superseded else row.state,
            marks=marks,
            took=format_duration(row.seconds(self._now)) if row.segments else "–",
            row=row,
            number=number,
            began=f"+{format_duration((row.start - self._origin).total_seconds())}" if row.start else "–",
            ran=format_duration(row.worked(self._now)),
            waited=format_duration(waited) if waited > 0.0005 else "–",
        )

    def run_line(
        self, story: Story, turns: list[TurnSpan], start: datetime.datetime, end: datetime.datetime
    ) -> WaterfallLine:
        waits = [wait for wait in story.waits if wait.start <= end and end_of(wait, self._now) >= start]
        marks = [self._segment(wait) for wait in waits[-MARKS_PER_LINE:]]
        marks += [self._turn(turn) for turn in turns[-MARKS_PER_LINE:]]
        lost = [s for s in story.life if s.kind == "lost" and s.start <= end and (s.end or self._now) >= start]
        marks += [self._segment(segment) for segment in lost[-MARKS_PER_LINE:]]
        return WaterfallLine("the run", "", marks, format_duration(story.seconds(self._now)))

    def _segment(self, segment: Segment) -> WaterfallMark:
        kind = "failed" if segment.kind == "running" and segment.outcome == "failed" else segment.kind
        words = KINDS[kind]
        if segment.attempt and segment.kind in ("running", "lost"):
            words = f"attempt {segment.attempt}: {segment.outcome or 'running'}"
        elif segment.kind == "suspended":
            words = f"waiting for {segment.awaited}"
        lasts = format_duration((end_of(segment, self._now) - segment.start).total_seconds())
        words = f"{words}, {lasts}, from {localtime(segment.start):%H:%M:%S.%f}"
        if segment.seq:
            words += f" (#{segment.seq})"
        return self._mark(kind, segment.start, end_of(segment, self._now), words, is_open=segment.end is None)

    def _turn(self, turn: TurnSpan) -> WaterfallMark:
        took = format_duration(((turn.end or self._now) - turn.start).total_seconds())
        worker = f" on {turn.worker}" if turn.worker else ""
        outcome = turn.outcome or "under way"
        words = f"turn #{turn.seq}{worker}: {outcome}, {took}"
        return self._mark("turn", turn.start, turn.end or self._now, words, is_open=turn.end is None)

    def _mark(
        self, kind: str, start: datetime.datetime, end: datetime.datetime, words: str, *, is_open: bool
    ) -> WaterfallMark:
        left, right = self._scale.place(start), self._scale.place(end)
        width = max(MIN_WIDTH, right - left)
        return WaterfallMark(kind, round(min(left, 100 - width), 3), round(width, 3), words, is_open)
