"""``manage.py hookflow_export``: events as lines of JSON, those there are or also those to come."""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandError, CommandParser

from django_hookflow.feed.lines import FORMATS
from django_hookflow.feed.output import Stopping, give_up
from django_hookflow.feed.positions import Position
from django_hookflow.feed.reader import Feed, RunFeed
from django_hookflow.management.base import LogCommand
from django_hookflow.management.moments import parse_moment, parse_number
from django_hookflow.management.signals import stopped_by_signals

#: Between two looks for new events, with --follow.
PAUSE = 1.0


class Command(LogCommand):
    help = (
        "Writes the events of the log to standard output or a file, one JSON object per line; the events of each run "
        "are in order. With --follow, keeps writing new events until SIGTERM, SIGINT, or until its output is closed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar="POSITION|DATE",
            help="only events after this position, or recorded at or after this date (ISO 8601)",
        )
        parser.add_argument("--run", metavar="RUN_ID", help="only the run with this ID")
        parser.add_argument("--type", action="append", metavar="TYPE", help="only events of this type; can be repeated")
        parser.add_argument(
            "--format", choices=FORMATS, default="jsonl", help="output format: jsonl, or CloudEvents 1.0 envelopes"
        )
        parser.add_argument(
            "--follow", action="store_true", help="keep running and write new events as they are committed"
        )
        parser.add_argument("--output", metavar="FILE", help="write to this file; must not exist yet")

    def handle(self, *args: Any, **options: Any) -> None:
        feed = _find_feed(options["run"], options["type"], options["since"])
        standard = options.get("stdout") or sys.stdout
        stopping = Stopping()
        with _opened(options["output"], standard) as output, stopped_by_signals(stopping.request):
            try:
                self._write(feed, output, options["format"], options["follow"], stopping)
            except OSError as error:
                give_up(output)
                if not isinstance(error, BrokenPipeError):
                    raise CommandError(f"{options['output'] or 'standard output'}: {error.strerror}") from error

    def _write(self, feed: Feed | RunFeed, output: IO[str], format: str, follow: bool, stopping: Stopping) -> None:
        to_line = FORMATS[format]
        while not stopping.requested:
            events = feed.read()
            output.writelines(f"{to_line(event)}\n" for event in events)
            output.flush()  # each batch, for whoever follows
            if events or not feed.is_caught_up:
                continue
            if not follow:
                return
            stopping.wait(PAUSE, output)


def _find_feed(run_id: str | None, types: list[str] | None, since: str | None) -> Feed | RunFeed:
    given = parse_number(since or "")
    position, moment = (given, None) if given is not None else (0, _parse_moment(since))
    if run_id is not None:
        return RunFeed(run_id, after=position, types=types, since=moment)
    return Feed(Position.after(position), types=types, since=moment)


def _parse_moment(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise CommandError(
            f"--since {text!r} is not a position or a date: use a number, or a date such as 2026-05-01T12:00:00Z"
        )
    return moment


@contextmanager
def _opened(path: str | None, standard: IO[str]) -> Iterator[IO[str]]:
    if path is None:
        if isinstance(standard, io.TextIOWrapper):
            standard.reconfigure(encoding="utf-8")  # as JSON is, whatever the locale
        yield standard
        return
    try:
        with Path(path).open("x", encoding="utf-8", newline="\n") as file:
            yield file
    except FileExistsError as error:
        raise CommandError(f"{path} already exists: choose another name or remove it") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
