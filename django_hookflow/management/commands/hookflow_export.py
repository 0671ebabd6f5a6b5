"""``manage.py hookflow_export``: events as lines of JSON, those there are or also those to come."""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from django_hookflow.exceptions import HookFlowException
from django_hookflow.feed.lines import FORMATS
from django_hookflow.feed.output import Stopping, give_up
from django_hookflow.feed.positions import Position
from django_hookflow.feed.reader import Feed, RunFeed
from django_hookflow.management.signals import stopped_by_signals
from django_hookflow.management.unknown_runs import explain

#: Between two looks for new events, with --follow.
PAUSE = 1.0


class Command(BaseCommand):
    help = (
        "Writes the events of the log, one line of JSON each, to standard output or a file; the events of a run in their "
        "order. With --follow it goes on with those to come, until SIGTERM, SIGINT or the end of whoever reads it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar="POSITION|DATE",
            help="only events above a position, or recorded at a date (ISO) or later",
        )
        parser.add_argument("--run", metavar="RUN_ID", help="only the run that has this id")
        parser.add_argument(
            "--type", action="append", metavar="TYPE", help="only events of this type; may be given several times"
        )
        parser.add_argument("--format", choices=FORMATS, default="jsonl", help="jsonl, or CloudEvents 1.0 envelopes")
        parser.add_argument("--follow", action="store_true", help="go on with events as they are committed")
        parser.add_argument("--output", metavar="FILE", help="a file to make, instead of standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
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
        except HookFlowException as error:
            raise CommandError(explain(error, options["run"])) from error

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
    position, moment = (int(since), None) if since and since.isdecimal() else (0, _parse_moment(since))
    if run_id is not None:
        return RunFeed(run_id, after=position, types=types, since=moment)
    return Feed(Position.after(position), types=types, since=moment)


def _parse_moment(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        moment = parse_datetime(text)
        day = None if moment else parse_date(text)
    except ValueError:
        moment = day = None
    if day is not None:
        moment = datetime.datetime.combine(day, datetime.time())
    if moment is None:
        raise CommandError(f"--since {text!r} is neither a position nor a date: give a number, or 2026-05-01T12:00:00Z")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


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
        raise CommandError(f"{path} exists: choose another name, or remove it") from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
