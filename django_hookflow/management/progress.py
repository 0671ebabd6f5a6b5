"""How far a long command has got, on a terminal and nowhere else."""

from __future__ import annotations

import shutil
import time

from django.core.management.base import OutputWrapper

from django_hookflow.durations import format_duration
from django_hookflow.terminals import can_encode, encoding_of

#: Seconds between two pictures: often enough to be seen moving.
INTERVAL = 0.2
#: Characters of the bar.
WIDTH = 24
#: For an output that has no such characters.
PLAIN = str.maketrans("█░", "#-")


class Progress:
    """One line that is written over: ``███░░░░░  12 %  12,000 of 100,000 runs, 24,100/s, 4 s left``.

    >>> with Progress(command.stderr, "runs", total) as progress:
    ...     progress.add(1_000)
    """

    def __init__(self, stream: OutputWrapper, what: str, total: int) -> None:
        self._stream = stream
        self._what = what
        self._total = total
        self._done = 0
        self._started = time.monotonic()
        self._shown = 0.0
        self._is_seen = stream.isatty()

    def add(self, number: int) -> None:
        self._done += number
        now = time.monotonic()
        if self._is_seen and now - self._shown >= INTERVAL:
            self._shown = now
            self._write(self.describe(now - self._started))

    def describe(self, seconds: float) -> str:
        """What is shown after so many seconds of work. More may turn up than there was when it was counted."""
        total = max(self._total, self._done)
        share = self._done / total if total else 1.0
        rate = self._done / seconds if seconds > 0 else 0.0
        bar = ("█" * round(WIDTH * share)).ljust(WIDTH, "░")
        shown = f"{bar} {int(100 * share):3} %  {self._done:,} of {total:,} {self._what}, {rate:,.0f}/s"
        left = total - self._done
        return f"{shown}, {format_duration(round(left / rate))} left" if rate and left else shown

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Clears the line, for what is printed meanwhile; the next look shows it again."""
        if self._is_seen:
            self._write("")

    def _write(self, text: str) -> None:
        encoding = encoding_of(self._stream)
        if not can_encode("█░", encoding):
            text = text.translate(PLAIN)
        # A longer line would wrap, and could not be written over.
        text = text[: shutil.get_terminal_size().columns - 1]
        # To the beginning of the line, and the rest of what stood there cleared (ECMA-48: CR, EL). In no style: Django
        # gives this stream that of errors.
        self._stream.write(f"\r\x1b[K{text}", style_func=str, ending="")
        self._stream.flush()
