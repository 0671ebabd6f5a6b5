"""A story in characters: a header, the sentence, a waterfall, the errors, and the events if they are wanted.

What kind a stretch is can be told by its character; colour only repeats it.
"""

from __future__ import annotations

import datetime
import itertools
import operator
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.utils import timezone
from django.utils.termcolors import colorize

from django_hookflow.terminals import clean
from django_hookflow.timeline.errors import innermost_own_frame
from django_hookflow.timeline.reading import ToldEvent
from django_hookflow.timeline.scale import Scale
from django_hookflow.timeline.story import BUSY, Kind, Row, Segment, Story
from django_hookflow.timeline.words import in_words

#: Rows of steps that are drawn: so many from the beginning and from the end, and those between them that did not complete.
FIRST_ROWS, LAST_ROWS, ROWS_BETWEEN = 15, 15, 10
#: Errors that are told, the latest.
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
        "held": "=",
        "stopped": "!",
    },
    states={"completed": "✓", "failed": "✗", "running": "▸", "sleeping": "─", "backoff": "~", "doubted": "?"},
)
ASCII = Signs(
    kinds={"running": "#", "lost": "x", "sleeping": "-", "backoff": "~", "waiting": ".", "held": "=", "stopped": "!"},
    states={"completed": "+", "failed": "x", "running": ">", "sleeping": "-", "backoff": "~", "doubted": "?"},
    ellipsis="...",
)

COLOURS: dict[str, str] = {
    "running": "green",
    "lost": "red",
    "sleeping": "blue",
    "backoff": "yellow",
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
    "waiting": "waiting",
    "held": "paused",
    "stopped": "stopped",
}


@dataclass(frozen=True)
class Header:
    """What a story does not know: the run's names and status."""

    run_id: str
    workflow_id: str
    status: str
    label: str = ""


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

    def draw_events(self, story: Story, events: Iterable[ToldEvent]) -> Iterator[str]:
        """A line an event: its seq, when it was, what it is, of which step, by whom, and what else it says."""
        for event in events:
            since = (event.recorded_at - story.start).total_seconds() if story.start else 0.0
            told = [f"#{event.seq:<5} +{in_words(since):<13} {event.type:<16}", event.step_id or "", detail_of(event)]
            yield self._cut(" ".join(clean(part) for part in told if part).rstrip(), self.width)

    def _header(self, header: Header, story: Story) -> Iterator[str]:
        status = self._in_colour(header.status.replace("_", " "), header.status)
        yield f"{clean(header.run_id)}  {status}"
        origin = story.mark("run.triggered")
        by = f" by {clean(origin.actor)}" if origin and origin.actor else ""
        facts = {"workflow": clean(header.workflow_id), "label": clean(header.label)}
        facts["began"] = f"{_moment(story.start)}{by}" if story.start else ""
        facts["ended"] = _moment(story.end) if story.end else ""
        facts["again as"] = ", ".join(clean(run_id) for run_id in story.restarted_as)
        for name, fact in facts.items():
            if fact:
                yield self._cut(f"{name:<9} {fact}", self.width)

    # The waterfall.

    def _waterfall(self, story: Story, now: datetime.datetime) -> Iterator[str]:
        rows = list(_chosen(story.rows))
        names = [_columns(self._name(row)) for row in rows if isinstance(row, Row)]
        name_width = min(MAX_NAME, max([len("the run"), *names]))
        bar_width = self.width - name_width - RIGHT_COLUMNS - 5
        scale = Scale(story, now)
        now = scale.end
        yield f"{'':{name_width + 3}}{self._ruler(scale, bar_width)}".rstrip()
        yield self._line(
            " ", "the run", name_width, self._bar(story.life, scale, bar_width), in_words(story.seconds(now))
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
            left = min(width - 1, int(scale.at(segment.start) * width))
            right = round(scale.at(segment.end or scale.end) * width)
            cells[left : max(left + 1, right)] = [segment.kind] * (max(left + 1, right) - left)
        drawn = [(kind, self.signs.kinds[kind] if kind else " ") for kind in cells]
        for broken in scale.breaks:
            middle = min(width - 2, int((broken.left + broken.right) / 2 * width))
            if all(kind is not None and kind not in BUSY for kind in cells[middle : middle + 2]):
                drawn[middle : middle + 2] = [(None, "/"), (None, "/")]
        return "".join(
            self._in_colour("".join(sign for _, sign in group), kind or "")
            for kind, group in itertools.groupby(drawn, key=operator.itemgetter(0))
        )

    def _ruler(self, scale: Scale, width: int) -> str:
        """The length of the whole at its end, and those of what is left out over the breaks, as far as there is room."""
        total = in_words((scale.end - scale.start).total_seconds())
        line = list("0 s".ljust(width - len(total)) + total)
        for broken in scale.breaks:
            text = in_words(broken.seconds)
            at = max(4, int((broken.left + broken.right) / 2 * width) + 1 - len(text) // 2)
            if at + len(text) < width and "".join(line[at - 1 : at + len(text) + 1]).isspace():
                line[at : at + len(text)] = text
        return "".join(line)

    def _legend(self, story: Story, scale: Scale) -> Iterator[str]:
        seen = {segment.kind for segment in story.life if segment.kind in BUSY or segment.start != segment.end}
        told = [(self.signs.kinds[kind], meaning, str(kind)) for kind, meaning in MEANINGS.items() if kind in seen]
        told += [("//", "collapsed", "")] if scale.breaks else []
        line, room = " ", self.width - 1
        for sign, meaning, kind in told:
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
            yield self._in_colour(f"{name}{outcome}", "failed")
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
            line += f" {word}" if line.strip() else word
            if _columns(line) > self.width:
                line = self._cut(line, self.width)
        yield line

    def _padded(self, text: str, width: int) -> str:
        text = self._cut(text, width)
        return text + " " * (width - _columns(text))

    def _cut(self, text: str, width: int) -> str:
        if _columns(text) <= width:
            return text
        while _columns(text) > width - len(self.signs.ellipsis):
            text = text[:-1]
        return text + self.signs.ellipsis

    def _in_colour(self, text: str, what: str) -> str:
        if not self.colour or what not in COLOURS or not text.strip():
            return text
        return str(colorize(text, fg=COLOURS[what]))


def detail_of(event: ToldEvent) -> str:
    """What an event says beside its type and step, in a few words."""
    payload = event.payload if isinstance(event.payload, dict) else {}
    told = [f"by {event.actor}"] if event.actor else []
    if event.is_redacted:
        told.append("[redacted]")
    if payload.get("attempt") and event.type not in ("step.completed", "step.resolved"):
        told.append(f"attempt {payload['attempt']}")
    for name, words in (("worker", "on {}"), ("seconds", "for {}"), ("retry_in", "again in {}"), ("run_id", "{}")):
        value = payload.get(name)
        if value is not None:
            told.append(words.format(in_words(value) if isinstance(value, (int, float)) else value))
    error = payload.get("error")
    if isinstance(error, dict):
        told.append(f"{error.get('type')}: {error.get('message')}")
    if payload.get("reason"):
        told.append(str(payload["reason"]))
    return ", ".join(told)


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
    """How long a step's attempts or its sleep took, and how many attempts there were if more than one."""
    spent = in_words(row.worked(now) if row.kind != "sleep" else row.seconds(now)) if row.segments else ""
    return f"{spent} x{row.attempts}".strip() if row.attempts > 1 else spent


def _moment(moment: datetime.datetime) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S %Z") if timezone.is_aware(moment) else str(moment)


def _columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)
