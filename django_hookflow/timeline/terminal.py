"""A story in characters: a header, the sentence, a waterfall, the errors, and the events if they are wanted.

What kind a stretch is shows in its character; colour only repeats it.
"""

from __future__ import annotations

import datetime
import itertools
import operator
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from django.utils import timezone
from django.utils.termcolors import colorize

from django_hookflow.durations import format_duration
from django_hookflow.terminals import clean
from django_hookflow.timeline.detail import detail_of
from django_hookflow.timeline.errors import innermost_own_frame
from django_hookflow.timeline.reading import EventExcerpt
from django_hookflow.timeline.scale import Scale, busy_times
from django_hookflow.timeline.story import BUSY, Kind, Row, Segment, Story

#: Rows of steps that are drawn: so many from the beginning and from the end, and those between them that did not complete.
FIRST_ROWS, LAST_ROWS, ROWS_BETWEEN = 15, 15, 10
#: Errors that are shown, the latest.
MAX_ERRORS = 5
MAX_NAME = 28
RIGHT_COLUMNS = 13


@dataclass(frozen=True)
class Signs:
    """The characters of kinds and of states."""

    kinds: dict[Kind, str]
    states: dict[str, str]
    ellipsis: str = "…"


UNICODE = Signs(
    kinds={
        "running": "█",
        "lost": "╳",
        "sleeping": "─",
        "backoff": "~",
        "waiting": "·",
        "suspended": ":",
        "held": "=",
        "stopped": "!",
    },
    states={
        "completed": "✓",
        "failed": "✗",
        "running": "▸",
        "sleeping": "─",
        "backoff": "~",
        "suspended": ":",
        "doubted": "?",
    },
)
ASCII = Signs(
    kinds={
        "running": "#",
        "lost": "x",
        "sleeping": "-",
        "backoff": "~",
        "suspended": ":",
        "waiting": ".",
        "held": "=",
        "stopped": "!",
    },
    states={
        "completed": "+",
        "failed": "x",
        "running": ">",
        "sleeping": "-",
        "backoff": "~",
        "suspended": ":",
        "doubted": "?",
    },
    ellipsis="...",
)

COLOURS: dict[str, str] = {
    "running": "green",
    "lost": "red",
    "sleeping": "blue",
    "backoff": "yellow",
    "suspended": "blue",
    "waiting": "white",
    "held": "magenta",
    "stopped": "red",
    "completed": "green",
    "failed": "red",
    "doubted": "red",
    "pending": "white",
    "cancelled": "magenta",
    "paused": "magenta",
    "in_doubt": "red",
    "diverged": "red",
}
MEANINGS: dict[Kind, str] = {
    "running": "running",
    "lost": "lost",
    "sleeping": "sleeping",
    "backoff": "until retry",
    "suspended": "waiting in a step",
    "waiting": "waiting",
    "held": "paused",
    "stopped": "stopped",
}


#: How a run is related to the one that its origin names, by the origin's kind.
RELATED = {"child": "child of", "continued": "after"}


@dataclass(frozen=True)
class Header:
    """What a story does not know: the run's names and status."""

    run_id: str
    workflow_id: str
    status: str
    label: str = ""
    #: Of each run that it started, or the last of many: the step, the run's id and how it stands.
    children: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Drawing:
    """How to draw: in how many columns, with which characters, in colour or not."""

    width: int = 80
    signs: Signs = UNICODE
    colour: bool = False

    def draw(self, header: Header, story: Story, now: datetime.datetime, sentence: str) -> Iterator[str]:
        """The lines of everything but the events."""
        yield from self._header(header, story)
        yield ""
        yield from self._wrapped(sentence)
        if story.life:
            yield ""
            yield from self._waterfall(story, now)
        errors = list(self._errors(story))
        if errors:
            yield ""
            yield from errors

    def draw_events(self, story: Story, events: Iterable[EventExcerpt]) -> Iterator[str]:
        """A line an event: its seq, when it was, what it is, of which step, by whom, and what else it holds."""
        for event in events:
            since = (event.recorded_at - story.start).total_seconds() if story.start else 0.0
            parts = [
                f"#{event.seq:<5} +{format_duration(since):<13} {event.type:<16}",
                event.step_id or "",
                detail_of(event),
            ]
            yield self._cut(" ".join(clean(part) for part in parts if part).rstrip(), self.width)

    def _header(self, header: Header, story: Story) -> Iterator[str]:
        status = self._in_colour(header.status.replace("_", " "), header.status)
        yield f"{clean(header.run_id)}  {status}"
        origin = story.mark("run.triggered")
        by = f" by {clean(origin.actor)}" if origin and origin.actor else ""
        facts = {"workflow": clean(header.workflow_id), "label": clean(header.label)}
        facts["began"] = f"{_moment(story.start)}{by}" if story.start else ""
        facts["ended"] = _moment(story.end) if story.end else ""
        related = RELATED.get(story.origin.get("kind", ""))
        if related:
            facts[related] = clean(story.origin.get("run_id", ""))
        facts["progress"] = clean(str(story.progress or ""))
        facts["continued as"] = clean(story.continued_as)
        facts["again as"] = ", ".join(clean(run_id) for run_id in story.restarted_as)
        for name, fact in facts.items():
            if fact:
                yield self._cut(f"{name:<9} {fact}", self.width)
        for step_id, run_id, status in header.children:
            line = f"started   {clean(run_id)} in {clean(step_id)}"
            yield f"{self._cut(line, self.width - 13)}  {self._in_colour(status.replace('_', ' '), status)}"

    # The waterfall.

    def _waterfall(self, story: Story, now: datetime.datetime) -> Iterator[str]:
        rows = list(_chosen(story.rows))
        names = [_columns(self._name(row)) for row in rows if isinstance(row, Row)]
        name_width = min(MAX_NAME, max([len("the run"), *names]))
        bar_width = self.width - name_width - RIGHT_COLUMNS - 5
        end = max(story.end or now, story.last_at or now)
        scale = Scale(story.start or now, end, busy_times(story.turns, end))
        yield f"{'':{name_width + 3}}{self._ruler(scale, bar_width)}".rstrip()
        yield self._line(
            " ", "the run", name_width, self._bar(story.life, scale, bar_width), format_duration(story.seconds(now))
        )
        for row in rows:
            if isinstance(row, Row):
                state = "pending" if row.superseded else row.state
                sign = self._in_colour(self.signs.states.get(row.state, " "), state)
                bar = self._bar(row.segments, scale, bar_width)
                yield self._line(sign, self._name(row), name_width, bar, _spent(row, now))
            else:
                yield f"  {self.signs.ellipsis} {row:,} more steps {self.signs.ellipsis}"
        yield from self._legend(story, scale)

    def _line(self, sign: str, name: str, name_width: int, bar: str, right: str) -> str:
        return f"{sign} {self._padded(name, name_width)} {bar} {right:>{RIGHT_COLUMNS}}".rstrip()

    def _name(self, row: Row) -> str:
        return f"({clean(row.step_id)})" if row.superseded else clean(row.step_id)

    def _bar(self, segments: list[Segment], scale: Scale, width: int) -> str:
        cells: list[Kind | None] = [None] * width
        # What somebody worked at is drawn last: however short it is, it is seen.
        for segment in sorted(segments, key=lambda segment: (segment.kind in BUSY, segment.kind == "running")):
            left = min(width - 1, int(scale.place(segment.start) * width / 100))
            right = round(scale.place(segment.end or scale.end) * width / 100)
            cells[left : max(left + 1, right)] = [segment.kind] * (max(left + 1, right) - left)
        drawn = [(kind, self.signs.kinds[kind] if kind else " ") for kind in cells]
        for broken in scale.breaks:
            middle = min(width - 2, int(broken.middle * width / 100))
            if all(kind is not None and kind not in BUSY for kind in cells[middle : middle + 2]):
                drawn[middle : middle + 2] = [(None, "/"), (None, "/")]
        return "".join(
            self._in_colour("".join(sign for _, sign in group), kind or "")
            for kind, group in itertools.groupby(drawn, key=operator.itemgetter(0))
        )

    def _ruler(self, scale: Scale, width: int) -> str:
        """The length of the whole at its end, and those of what is left out over the breaks, as far as there is room."""
        total = format_duration(scale.length)
        line = list("0 s".ljust(width - len(total)) + total)
        for broken in scale.breaks:
            at = max(4, int(broken.middle * width / 100) + 1 - len(broken.words) // 2)
            end = at + len(broken.words)
            if end < width and "".join(line[at - 1 : end + 1]).isspace():
                line[at:end] = broken.words
        return "".join(line)

    def _legend(self, story: Story, scale: Scale) -> Iterator[str]:
        seen = {segment.kind for segment in story.life if segment.kind in BUSY or segment.start != segment.end}
        entries = [(self.signs.kinds[kind], meaning, str(kind)) for kind, meaning in MEANINGS.items() if kind in seen]
        entries += [("//", "collapsed", "")] if scale.breaks else []
        line, room = " ", self.width - 1
        for sign, meaning, kind in entries:
            columns = len(sign) + len(meaning) + 3
            if room < columns:
                yield line
                line, room = " ", self.width - 1
            line, room = f"{line}{'' if line == ' ' else ' '} {self._in_colour(sign, kind)} {meaning}", room - columns
        yield line

    # The errors.

    def _errors(self, story: Story) -> Iterator[str]:
        found = [
            (row.seq, clean(row.step_id), row.error, row.state)
            for row in story.rows
            if row.error is not None and not row.superseded
        ]
        failure = story.failure
        if failure is not None and failure.error is not None and story.row(failure.step_id) is None:
            found.append((failure.seq, "the run", failure.error, "failed"))
        if len(found) > MAX_ERRORS:
            yield f"The last {MAX_ERRORS} of {len(found):,} errors:"
        for _, name, error, state in sorted(found, key=lambda each: each[0])[-MAX_ERRORS:]:
            outcome = " (a later attempt completed)" if state == "completed" else ""
            yield self._in_colour(self._cut(name, self.width - len(outcome)) + outcome, "failed")
            first = error["message"].strip().split("\n", 1)[0]
            yield from self._wrapped(f"{error['type']}: {first}" if first else error["type"], indent="  ", lines=4)
            frame = innermost_own_frame(error["traceback"])
            if frame:
                yield self._cut(f"  at {clean(frame)}", self.width)

    # Text.

    def _wrapped(self, text: str, indent: str = "", lines: int = 6) -> Iterator[str]:
        """``text`` in lines, broken between words where that is possible."""
        line = indent
        for word in clean(text).split():
            if line.strip() and _columns(line) + 1 + _columns(word) > self.width:
                lines -= 1
                yield line if lines else self._cut(f"{line} {self.signs.ellipsis}", self.width)
                if not lines:
                    return
                line = indent
            line = self._cut(f"{line} {word}" if line.strip() else line + word, self.width)
        yield line

    def _padded(self, text: str, width: int) -> str:
        text = self._cut(text, width)
        return text + " " * (width - _columns(text))

    def _cut(self, text: str, width: int) -> str:
        kept = _fitting(text, width)
        return (
            text
            if kept == len(text)
            else text[: _fitting(text, width - len(self.signs.ellipsis))] + self.signs.ellipsis
        )

    def _in_colour(self, text: str, what: str) -> str:
        if not self.colour or what not in COLOURS or not text.strip():
            return text
        return str(colorize(text, fg=COLOURS[what]))


def _chosen(rows: list[Row]) -> Iterator[Row | int]:
    """The rows to draw, and in the place of others how many they are."""
    if len(rows) <= FIRST_ROWS + LAST_ROWS + ROWS_BETWEEN:
        yield from rows
        return
    yield from rows[:FIRST_ROWS]
    skipped, between = 0, 0
    for row in rows[FIRST_ROWS:-LAST_ROWS]:
        if row.state == "completed" or row.superseded or between == ROWS_BETWEEN:
            skipped += 1
            continue
        if skipped:
            yield skipped
        skipped, between = 0, between + 1
        yield row
    if skipped:
        yield skipped
    yield from rows[-LAST_ROWS:]


def _spent(row: Row, now: datetime.datetime) -> str:
    """How long a step's attempts took, or its wait where that is all there was; and how many attempts, if more than one."""
    spent = row.worked(now) if any(segment.kind in BUSY for segment in row.segments) else row.waited(now)
    shown = format_duration(spent) if row.segments else ""
    return f"{shown} x{row.attempts}".strip() if row.attempts > 1 else shown


def _moment(moment: datetime.datetime) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z") if timezone.is_aware(moment) else str(moment)


def _columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _fitting(text: str, width: int) -> int:
    """How many characters of ``text`` fit into so many columns: no more are looked at, and marks without end do not fit."""
    taken = 0
    for at, character in enumerate(text):
        taken += _columns_of(character)
        if taken > width or at >= 8 * max(width, 1):
            return at
    return len(text)
