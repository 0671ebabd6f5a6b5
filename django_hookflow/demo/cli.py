"""``python -m django_hookflow demo``: sets the stage, plays the story, and stays up until it is stopped."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from django_hookflow.demo.console import Console
from django_hookflow.demo.stage import Stage
from django_hookflow.exceptions import HookFlowException

if TYPE_CHECKING:
    from types import FrameType


def run(*, check: bool = False, port: int | None = None) -> int:
    """The exit status: 0, or 1 when something is not as the story says. With ``check`` it returns when that is known."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, leave)
    console = Console()
    try:
        return play(console, check=check, port=port)
    except HookFlowException as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        console.title("Stopped. All processes have been shut down.")
        return 130


def play(console: Console, *, check: bool, port: int | None) -> int:
    console.title("django-hookflow demo: an order, a crash and a recovery")
    started = time.monotonic()
    with Stage(port) as stage:
        console.fact("PostgreSQL", f"pid {stage.postgres.pid}, data is deleted on exit")
        console.fact("web process", f"pid {stage.start_web().pid}, {stage.url}/")
        console.fact("relay", f"pid {stage.start_relay().pid}, sends signed deliveries")
        console.fact("ready", f"in {time.monotonic() - started:.1f} s")

        from django_hookflow.demo.gallery import Gallery  # models can be imported once the stage is set
        from django_hookflow.demo.story import DemoStory
        from django_hookflow.demo.verdict import judge

        story = DemoStory(stage, console)
        order = story.play()
        console.title("Result")
        verdicts = judge(order)
        for is_good, text in verdicts:
            console.verdict(is_good, text)
        if not check:
            console.title("More runs to look at")
            Gallery(stage, console).hang(order)
            invite(console, stage)
            story.follow()
        return 0 if all(is_good for is_good, _ in verdicts) else 1


def invite(console: Console, stage: Stage) -> None:
    console.title("Running until you press Ctrl-C")
    console.fact("shop", f"{stage.url}/  (place another order)")
    console.fact("admin", f"{stage.url}/admin/django_hookflow/workflowrun/")
    console.fact("login", f"admin / {stage.password}")
    console.say("")


def leave(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)
