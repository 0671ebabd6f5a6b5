"""Where marks are drawn: within the width, whatever the history is."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from django_hookflow.admin.run_page.waterfall import LINES_PER_PAGE, Waterfall, draw
from django_hookflow.timeline import story_of
from django_hookflow.timeline.reading import EventExcerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


def at(seconds: float) -> datetime.datetime:
    return START + datetime.timedelta(seconds=seconds)


def story(*events: tuple[float, str, str | None, object]) -> Sequence[EventExcerpt]:
    return [
        EventExcerpt(seq, type_, step_id, None, at(seconds), False, facts)
        for seq, (seconds, type_, step_id, facts) in enumerate(events, start=1)
    ]


def paint(*events: tuple[float, str, str | None, object], now: float = 10_000, linear: bool = False) -> Waterfall:
    return draw(story_of(story(*events)), at(now), is_living=True, is_linear=linear)


SLEPT: list[tuple[float, str, str | None, object]] = [
    (0, "run.triggered", None, {}),
    (1, "turn.started", None, {"worker": "w"}),
    (2, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 1}),
    (2, "step.suspended", "nap", {"kind": "sleep", "seconds": 3600, "until": at(3602).isoformat()}),
    (3602, "step.completed", "nap", {"kind": "sleep", "took": 0}),
    (3602, "turn.started", None, {"worker": "w"}),
    (3603, "step.failed", "b", {"kind": "run", "attempt": 1, "took": 1, "error": "E"}),
    (3604, "run.failed", "b", {"error": "E", "attempts": 1}),
]


def test_segments_are_of_different_kinds_and_described() -> None:
    drawn = paint(*SLEPT)

    assert [(line.name, line.state, [mark.kind for mark in line.marks]) for line in drawn.lines] == [
        ("a", "completed", ["running"]),
        ("nap", "completed", ["sleeping"]),
        ("b", "failed", ["failed"]),
    ]
    assert [mark.kind for mark in drawn.run.marks].count("turn") == 2
    assert drawn.lines[0].marks[0].words == "attempt 1: completed, 1 s, from 00:00:01.000000 (#3)"
    assert {kind for kind, _ in drawn.kinds} == {"running", "failed", "sleeping", "waiting", "turn"}
    assert len(drawn.breaks) == 1


def test_what_lasts_reaches_the_present_and_a_sleep_its_end() -> None:
    drawn = paint(*SLEPT[:4], now=1802)

    (mark,) = drawn.lines[1].marks
    assert mark.is_open
    assert mark.right == 100
    assert drawn.now is not None
    assert mark.left < drawn.now < 100


def test_a_worker_that_was_lost_is_seen_on_the_run_s_own_line() -> None:
    drawn = paint(
        (0, "run.triggered", None, {}),
        (1, "turn.started", None, {"worker": "w"}),
        (2, "step.completed", "a", {"kind": "run", "attempt": 1, "took": 1}),
        (62, "turn.abandoned", None, {"turn_seq": 2}),
        (63, "turn.started", None, {"worker": "x"}),
        (64, "run.completed", None, {}),
    )

    (lost,) = [mark for mark in drawn.run.marks if mark.kind == "lost"]
    assert lost.words.endswith("1 min, from 00:00:02.000000 (#4)")


def test_every_mark_lies_within_the_width() -> None:
    for linear in (False, True):
        drawn = paint(*SLEPT, linear=linear)
        marks = [mark for line in [drawn.run, *drawn.lines] for mark in line.marks]
        assert marks
        assert all(mark.left >= 0 and mark.right <= 100.001 and mark.width > 0 for mark in marks)


def test_a_long_run_is_drawn_in_parts_of_their_own_scale() -> None:
    steps = [(float(n), "step.completed", f"s{n}", {"kind": "run", "attempt": 1, "took": 1}) for n in range(2, 302)]
    long = story_of(story((0.0, "run.triggered", None, {}), (1.0, "turn.started", None, {}), *steps))

    part = draw(long, at(302), is_living=False, first=LINES_PER_PAGE)

    assert (len(part.lines), part.lines[0].name, part.first, part.total) == (LINES_PER_PAGE, "s102", 100, 300)
    assert (part.lines[0].marks[0].left, part.lines[-1].marks[-1].right) == (0, 100)
    assert (part.previous, part.next) == (1, 201)


def test_a_step_is_as_long_as_it_worked_though_somebody_paused_the_run_meanwhile() -> None:
    drawn = paint(
        (0, "run.triggered", None, {}),
        (1, "turn.started", None, {"worker": "w"}),
        (1, "step.intended", "charge", {"kind": "call", "attempt": 1}),
        (51, "run.paused", None, {}),
        (61, "step.completed", "charge", {"kind": "call", "attempt": 1, "took": 60.0}),
        now=100,
    )

    (line,) = drawn.lines
    assert (line.took, line.ran, line.waited) == ("1 min", "1 min", "–")
    assert line.marks[0].words.startswith("attempt 1: completed, 1 min, from 00:00:01")


def test_an_attempt_that_failed_at_once_is_drawn_over_the_long_pause_after_it() -> None:
    failed = {"kind": "run", "attempt": 1, "took": 0.01, "retry_in": 36_000}
    until = at(36_001).isoformat().replace("+00:00", "Z")
    events = story(
        (0, "run.triggered", None, {}),
        (0.5, "turn.started", None, {}),
        (1, "step.failed", "charge", failed),
        (1, "step.suspended", "charge", {"kind": "backoff", "seconds": 36_000, "until": until, "attempt": 1}),
    )

    (line,) = draw(story_of(events), at(2), is_living=True, is_linear=True).lines

    assert [mark.kind for mark in line.marks] == ["backoff", "failed"]
    assert line.marks[-1].width >= 0.5
