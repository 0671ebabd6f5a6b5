"""SIGTERM and SIGINT as requests, for the commands that go on until they are asked to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by_signals(stop: Callable[[], None], afterwards: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The first signal calls ``stop``, the second ends the process at once. Afterwards handlers are as they were.

    ``afterwards`` is called then as well, to take back what ``stop`` has said to others.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield  # handlers can be set in the main thread only; call_command may be used in any
        return
    previous = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
        afterwards()
