"""``manage.py hookflow_timeline RUN_ID``: the story of a run in a terminal."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import shutil
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError

from django_hookflow.events.database import alias
from django_hookflow.exceptions import HookFlowException, UnknownRun
from django_hookflow.management.base import LogCommand
from django_hookflow.management.moments import parse_moment, parse_number
from django_hookflow.models import Head, WorkflowRun
from django_hookflow.projections.as_of import RunAsOf
from django_hookflow.terminals import can_encode, counted, encodable, encoding_of
from django_hookflow.timeline import Present, Story, events_of, present_of, sentence_for, story_of
from django_hookflow.timeline.reading import EventExcerpt
from django_hookflow.timeline.terminal import ASCII, UNICODE, Drawing, Header

#: Seconds between two looks with --follow.
INTERVAL = 1.0
ENDED = ("completed", "failed", "cancelled")
MIN_WIDTH, MAX_WIDTH = 60, 160
#: Of the runs that a run started, the latest are shown.
CHILDREN = 10
#: Lines from the top that are shown on a terminal with less room than all of them take.
FIRST_LINES = 10
#: Terminals: the cursor to the upper left corner, and clear from the cursor to the end (ECMA-48: CUP, ED).
HOME, CLEAR = "\x1b[H", "\x1b[J"


@dataclasses.dataclass(frozen=True)
class View:
    """All that is to be shown of a run."""

    run: WorkflowRun | RunAsOf
    story: Story
    present: Present
    events: list[EventExcerpt]
    children: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    @property
    def sentence(self) -> str:
        return sentence_for(self.run, self.story, self.present)


class Command(LogCommand):
    help = (
        "Shows what a run did, where the time went, what failed, and what happens next. Long idle periods are "
        "collapsed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run_id", metavar="RUN_ID")
        parser.add_argument("--events", action="store_true", help="also print the events")
        parser.add_argument("--json", action="store_true", help="print JSON")
        when = parser.add_mutually_exclusive_group()
        when.add_argument("--follow", action="store_true", help="keep updating until the run ends")
        when.add_argument(
            "--as-of",
            type=read_moment,
            metavar="SEQ|TIME",
            help="show the run as it was after its first SEQ events, or at a given time",
        )

    def handle(self, *, run_id: str, follow: bool, as_of: int | datetime.datetime | None, **options: Any) -> None:
        if not follow:
            view = _read(run_id, as_of)
            self.stdout.write(_as_json(view) if options["json"] else "\n".join(self._lines(view, options)))
            return
        try:
            self._follow(run_id, options)
        except KeyboardInterrupt:
            self.stdout.write("")

    def _follow(self, run_id: str, options: dict[str, Any]) -> None:
        """On a terminal one picture that is drawn over; elsewhere another one each time an event has come."""
        wait, on_terminal, last_seq = threading.Event().wait, self.stdout.isatty(), -1
        while True:
            view = _read(run_id, None)
            if options["json"] or not on_terminal:
                if view.story.last_seq != last_seq:
                    indented = _as_json(view, indent=None) if options["json"] else "\n".join(self._lines(view, options))
                    self.stdout.write(indented if last_seq < 0 or options["json"] else f"\n{indented}")
            else:
                picture = list(self._lines(view, options))
                if view.run.status not in ENDED:  # what is drawn over has to fit; what stays may be as long as it is
                    picture = cut_to_height(picture, shutil.get_terminal_size((80, 24)).lines - 1)
                lines = [f"{line}\x1b[K" for line in picture]
                self.stdout.write(
                    (f"{HOME}{CLEAR}" if last_seq < 0 else HOME) + "\n".join(lines) + f"\n{CLEAR}", ending=""
                )
            self.stdout.flush()
            last_seq = view.story.last_seq
            if view.run.status in ENDED:
                return
            wait(INTERVAL)

    def _lines(self, view: View, options: dict[str, Any]) -> Iterator[str]:
        encoding = encoding_of(self.stdout)
        yield from (encodable(line, encoding) for line in self._drawn(view, options))

    def _drawn(self, view: View, options: dict[str, Any]) -> Iterator[str]:
        drawing = self._drawing(options)
        header = Header(view.run.run_id, view.run.workflow_id, view.run.status, view.run.label, view.children)
        yield from drawing.draw(header, view.story, view.present.now, view.sentence)
        if options["events"]:
            yield ""
            yield from drawing.draw_events(view.story, view.events)

    def _drawing(self, options: dict[str, Any]) -> Drawing:
        on_terminal = self.stdout.isatty()
        plain = options["no_color"] or os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size((80, 24)).columns if on_terminal else 80
        signs = UNICODE if can_encode("█✓…", encoding_of(self.stdout)) else ASCII
        return Drawing(
            width=min(MAX_WIDTH, max(MIN_WIDTH, width)),
            signs=signs,
            colour=bool(options["force_color"] or (on_terminal and not plain)),
        )


def cut_to_height(lines: list[str], height: int) -> list[str]:
    """The first lines, which show what the run is and does, and the last ones, which show what it did last."""
    if len(lines) <= height:
        return lines
    first = min(FIRST_LINES, height // 2)
    last = max(0, height - first - 1)
    return [*lines[:first], f"  (… {len(lines) - first - last} lines …)", *lines[len(lines) - last :]]


def read_moment(text: str) -> int | datetime.datetime:
    """``57``, or a time in the project's time zone unless it names another."""
    if (seq := parse_number(text)) is not None:
        return seq
    moment = parse_moment(text)
    if moment is None:
        raise ArgumentTypeError(
            f"{text!r} is not an event number or a time: use a number such as 57, or a time such as 2026-01-31T12:00"
        )
    return moment


def _read(run_id: str, as_of: int | datetime.datetime | None) -> View:
    try:
        stored = WorkflowRun.objects.using(alias()).defer("data", "result").get(run_id=run_id)
    except WorkflowRun.DoesNotExist:
        raise CommandError(_reason_missing(run_id)) from None
    if as_of is None:
        events = list(events_of(stored.run_uid))
        present = present_of(stored.run_uid)
        # Read last, so that its status is not older than its story.
        stored.refresh_from_db(fields=["status"])
        if not events:
            raise CommandError(_reason_missing(run_id))
        children = stored.children.order_by("-created_at").values_list("parent_step", "run_id", "status")
        return View(stored, story_of(events, present), present, events, list(children[:CHILDREN])[::-1])
    try:
        run = stored.as_of(as_of)
    except (ValueError, HookFlowException) as error:
        raise CommandError(str(error)) from error
    events = list(events_of(stored.run_uid, run.seq))
    present = Present(now=events[-1].recorded_at if isinstance(as_of, int) else as_of)
    return View(run, story_of(events, present), present, events)


def _reason_missing(run_id: str) -> str:
    head = Head.objects.using(alias()).filter(run_id=run_id).first()
    if head is None:
        raise UnknownRun(run_id)
    if head.archived_at is not None:
        return (
            f"run {run_id!r} was archived on {head.archived_at:%Y-%m-%d} with {counted(head.last_seq, 'event')}. If "
            f"they were archived to a file, hookflow_archive show FILE --run {run_id} prints them"
        )
    return (
        f"run {run_id!r} is missing from the projections. To rebuild them from the log: hookflow_rebuild --run {run_id}"
    )


def _as_json(view: View, indent: int | None = 2) -> str:
    run, story = view.run, dataclasses.asdict(view.story)
    current = view.story.current
    document = {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "label": run.label,
        "status": run.status,
        "sentence": view.sentence,
        "now": view.present.now,
        **story,
        "current": current.step_id if current else None,
        "children": [dict(zip(("step_id", "run_id", "status"), child, strict=True)) for child in view.children],
    }
    return json.dumps(document, indent=indent, default=_iso)  # in ASCII, which no terminal takes for commands


def _iso(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} is not JSON serializable")
