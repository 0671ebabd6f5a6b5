"""The last steps of a run as a picture in its row: a bar for each, the higher the longer it took.

Drawn from the last events of the runs of one page, in one statement that reads so many for each, however long a run is.
A bar is a step that completed, a triangle an attempt that failed, a dash a sleep, a diamond a step in doubt.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from django.db import connections
from django.utils.html import format_html, format_html_join

from django_hookflow.sql import load

#: Events that are read of a run, and bars that are drawn.
EVENTS, BARS = 60, 16
HEIGHT, WIDTH, STEP = 20, 4, 6

#: The outcomes that have a shape, with their words. That a sleep or a backoff is over has none.
SHAPES = {"completed": "completed", "failed": "failed", "slept": "slept", "doubted": "in doubt"}
OUTCOMES = {
    ("step.suspended", "sleep"): "slept",
    ("step.suspended", "doubt"): "doubted",
    ("step.completed", "sleep"): "",
}

#: Run, type, kind of the step or wait, and seconds that it took.
Event = tuple[UUID, str, "str | None", float]


@dataclass(frozen=True)
class Bar:
    """One outcome of a step: one of :data:`SHAPES`."""

    outcome: str
    seconds: float


def draw_last_steps(run_uids: Sequence[UUID], using: str) -> dict[UUID, str]:
    """The picture of each run that has done anything, as HTML."""
    if not run_uids:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(load("list_last_events"), {"run_uids": list(run_uids), "limit": EVENTS})
        events: list[Event] = cursor.fetchall()
    return {run_uid: draw(bars_of(of_run)) for run_uid, of_run in groupby(events, key=lambda event: event[0])}


def bars_of(events: Iterable[Event]) -> list[Bar]:
    """What has come of steps, in the order of the events."""
    bars = []
    for _, type_, kind, seconds in events:
        outcome = OUTCOMES.get((type_, kind or ""), type_.removeprefix("step."))
        if outcome in SHAPES:
            bars.append(Bar(outcome, seconds))
    return bars[-BARS:]


def draw(bars: Sequence[Bar]) -> str:
    if not bars:
        return ""
    paths: dict[str, str] = {}
    for place, bar in enumerate(bars):
        paths[bar.outcome] = paths.get(bar.outcome, "") + outline(bar, place * STEP)
    width = BARS * STEP - (STEP - WIDTH)
    return format_html(
        '<svg class="hookflow-spark" role="img" width="{}" height="{}" viewBox="0 0 {} {}"><title>{}</title>{}</svg>',
        *(width, HEIGHT, width, HEIGHT, describe(bars)),
        format_html_join("", '<path class="hookflow-spark-{}" d="{}"/>', paths.items()),
    )


def outline(bar: Bar, x: int) -> str:
    """The shape of one bar, ``x`` from the left, standing on the ground line."""
    if bar.outcome == "slept":
        return f"M{x} {HEIGHT}v-2h{WIDTH}v2z"
    if bar.outcome == "doubted":
        return f"M{x} {HEIGHT - 5}l{WIDTH // 2} -5l{WIDTH // 2} 5l-{WIDTH // 2} 5z"
    height = height_of(bar.seconds)
    if bar.outcome == "failed":
        return f"M{x} {HEIGHT}l{WIDTH // 2} -{max(height, 8)}l{WIDTH // 2} {max(height, 8)}z"
    return f"M{x} {HEIGHT}v-{height}h{WIDTH}v{height}z"


def height_of(seconds: float) -> int:
    """From 4 for a millisecond to all of it for a hundred seconds, by the logarithm."""
    share = (math.log10(max(seconds, 0.001)) + 3) / 5
    return round(4 + (HEIGHT - 4) * min(1.0, share))


def describe(bars: Sequence[Bar]) -> str:
    counts = Counter(bar.outcome for bar in bars)
    return "Last steps: " + ", ".join(f"{counts[name]} {words}" for name, words in SHAPES.items() if counts[name])
