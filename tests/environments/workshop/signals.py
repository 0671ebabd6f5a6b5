"""A host process with signal handlers of its own: ``python -m … RUN_ID`` runs a turn and prints whose handlers are there.

Prints two lists as JSON: the signals that have another handler than before, after ``django.setup()`` and after the turn.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import django

Handler = Callable[[int, FrameType | None], Any]


def main(run_id: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, make_handler())
    before = handlers()
    django.setup()
    after_setup = changed(before)

    from django_hookflow.runtime.turn import run_turn

    result = run_turn("ten-steps", run_id, 1)
    sys.stdout.write(json.dumps([after_setup, changed(before), result.answer]))


def make_handler() -> Handler:
    return lambda signum, frame: None


def handlers() -> dict[signal.Signals, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals() if isinstance(number, signal.Signals)}


def changed(before: dict[signal.Signals, Any]) -> list[str]:
    return [number.name for number, handler in handlers().items() if handler is not before[number]]


if __name__ == "__main__":
    main(sys.argv[1])
