"""Where an export goes, and when it is to end: when asked to, or when nobody reads what it writes any more."""

from __future__ import annotations

import os
import select
from typing import IO


class Stopping:
    """Whether the process has been asked to end. :meth:`wait` waits for that, or for the reader of a pipe to go away."""

    def __init__(self) -> None:
        self.requested = False
        self._reads, self._writes = os.pipe()  # a signal handler may write to a pipe, and poll() returns at once
        os.set_blocking(self._writes, False)

    def request(self) -> None:
        """May be called from a signal handler."""
        self.requested = True
        try:
            os.write(self._writes, b".")
        except OSError:
            pass  # full or closed: it has been asked before

    def wait(self, seconds: float, output: IO[str]) -> None:
        watched = select.poll()
        watched.register(self._reads, select.POLLIN)
        descriptor = _descriptor_of(output)
        if descriptor is not None:
            watched.register(descriptor, 0)  # nothing but errors, of which a pipe nobody reads is one
        for found, what in watched.poll(seconds * 1000):
            if found == descriptor and what & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                self.requested = True

    def close(self) -> None:
        os.close(self._reads)
        os.close(self._writes)


def give_up(output: IO[str]) -> None:
    """After an OSError: what is still buffered goes nowhere, or Python complains as it ends."""
    descriptor = _descriptor_of(output)
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _descriptor_of(output: IO[str]) -> int | None:
    try:
        return output.fileno()
    except (OSError, AttributeError, ValueError):
        return None  # text in memory
