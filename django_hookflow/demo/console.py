"""What the demo says in the terminal: eighty columns, colours only where they are seen."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datetime

    from django_hookflow.models import WorkflowEvent

WIDTH = 80
BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"

COLOURS = {
    "run.completed": GREEN,
    "run.failed": RED,
    "run.diverged": RED,
    "step.failed": RED,
    "turn.abandoned": YELLOW,
    "turn.started": DIM,
    "step.suspended": CYAN,
}


class Console:
    def __init__(self) -> None:
        self.is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._zero: datetime.datetime | None = None
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a terminal that knows no "…" shows a "?" instead

    def title(self, text: str) -> None:
        self._print(f"\n{self._paint(text, BOLD)}\n")

    def fact(self, name: str, text: str) -> None:
        self._print(f"  {name + ' ':.<20} {text}")

    def say(self, text: str) -> None:
        self._print(textwrap.fill(text, WIDTH))

    def drama(self, text: str) -> None:
        """What happens to the processes, between the events that say what happens to the run."""
        for line in textwrap.wrap(text, WIDTH - 4):
            self._print(self._paint(f"  ! {line}", YELLOW))

    def verdict(self, is_good: bool, text: str) -> None:
        mark = self._paint("ok  ", GREEN) if is_good else self._paint("FAIL", RED)
        self._print(textwrap.fill(text, WIDTH, initial_indent=f"  {mark}  ", subsequent_indent=" " * 8))

    def event_header(self) -> None:
        self._print(self._paint(f"  {'time':>7}  {'run':<9} {'seq':>3}  {'event':<15} {'step':<17} detail", DIM))

    def event(self, event: WorkflowEvent) -> None:
        self._zero = self._zero or event.recorded_at
        seconds = (event.recorded_at - self._zero).total_seconds()
        line = (
            f"  {seconds:>6.2f}s  {shortened(event.run_id or '', 9):<9} {event.seq:>3}  {event.type:<15} "
            f"{shortened(event.step_id or '', 17):<17} "
        )
        line = shortened(line + describe(event.type, event.facts, event.payload or {}), WIDTH)
        self._print(self._paint(line.rstrip(), COLOURS.get(event.type)))

    def _paint(self, text: str, colour: str | None) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.is_coloured and colour else text

    def _print(self, text: str) -> None:
        print(text, flush=True)


def describe(type: str, facts: dict[str, Any], payload: dict[str, Any]) -> str:
    """What is most worth knowing of an event, in a few words."""
    if type == "run.triggered":
        return compact(payload.get("data"))
    if type in {"step.completed", "run.completed"}:
        result = payload.get("result")
        return "" if result is None else compact(result)
    if type in {"step.failed", "run.failed", "run.diverged"}:
        return f"{facts.get('error', '')}: {payload.get('message', '')}"
    if type == "step.suspended":
        length = f"of {facts['seconds']} s" if "seconds" in facts else f"until {facts.get('until')}"
        return f"{facts.get('kind')} {length}"
    if type == "turn.abandoned":
        return f"turn of #{facts.get('turn_seq')} died"
    return ""


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
