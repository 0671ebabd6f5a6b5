"""Text of others in a terminal: it fits, and costs time linear in its length."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow.terminals import clean, encodable
from django_hookflow.timeline import Present, sentence_for, story_of
from django_hookflow.timeline.errors import innermost_own_frame
from django_hookflow.timeline.reading import EventExcerpt
from django_hookflow.timeline.sentence import BY_STATUS
from django_hookflow.timeline.terminal import ASCII, Drawing, Header, _columns
from tests.growth import HOSTILE, grows_linearly

T0 = datetime.datetime(2026, 5, 1, 12, 0, tzinfo=datetime.timezone.utc)

drawings = st.builds(Drawing, width=st.integers(1, 100), signs=st.sampled_from([ASCII, Drawing().signs]))


@pytest.mark.parametrize("piece", HOSTILE)
def test_drawing_takes_time_linear_in_the_text(piece: str) -> None:
    drawing = Drawing()
    assert grows_linearly(lambda text: drawing._cut(text, 40), piece)
    assert grows_linearly(lambda text: drawing._padded(clean(text), 40), piece)
    assert grows_linearly(lambda text: list(drawing._wrapped(text)), piece)
    assert grows_linearly(lambda text: encodable(clean(text), "ascii"), piece)


@pytest.mark.parametrize("piece", ["a", "x ", "\u0301", "ｗ", "\n", '  File "a", line 1, in f\n'])
def test_a_whole_picture_takes_time_linear_in_what_a_run_holds(piece: str) -> None:
    """As actor, reason, label, step id, message and whatever else is not ours."""

    def draw(text: str) -> list[str]:
        facts = {"kind": text, "attempt": 1, "took": 1, "error": text, "worker": text, "run_id": text, "key": text}
        types = ("run.triggered", "turn.started", "step.failed", "step.suspended", "run.restarted", "run.cancelled")
        payload = {"reason": text, "message": text, "traceback": text}
        events = [
            EventExcerpt(n, type_, text, text, T0, False, facts, payload) for n, type_ in enumerate(types, start=1)
        ]
        story, present, drawing = story_of(events), Present(now=T0), Drawing()
        sentences = [sentence_for(RunAs(status), story, present) for status in BY_STATUS]
        lines = [*drawing.draw(Header(text, text, text, text), story, T0, " ".join(sentences))]
        return [*lines, *drawing.draw_events(story, events)]

    assert grows_linearly(draw, piece)
    assert all(_columns(line) <= 80 for line in draw(piece * (100_000 // len(piece)))[1:])


@dataclass
class RunAs:
    status: str


@pytest.mark.parametrize("piece", HOSTILE)
def test_finding_a_frame_takes_time_linear_in_the_text(piece: str) -> None:
    assert grows_linearly(innermost_own_frame, piece)


@given(drawings, st.text(st.characters() | st.sampled_from("\u0301ｗ \n")), st.integers(-5, 50))
def test_what_is_cut_fits(drawing: Drawing, text: str, width: int) -> None:
    cut = drawing._cut(text, width)
    assert _columns(cut) <= max(width, len(drawing.signs.ellipsis))
    assert cut == text or cut.endswith(drawing.signs.ellipsis)


@given(drawings, st.text(st.characters() | st.sampled_from("\u0301ｗ \n")))
def test_what_is_wrapped_fits(drawing: Drawing, text: str) -> None:
    for line in drawing._wrapped(text):
        assert _columns(line) <= max(drawing.width, len(drawing.signs.ellipsis))


def test_marks_without_end_are_cut() -> None:
    assert len(Drawing()._cut("a" + "\u0301" * 10_000, 20)) < 200
    assert all(len(line) < 800 for line in Drawing()._wrapped("a" + "\u0301" * 10_000))


def test_a_frame_of_a_groups_member_is_found() -> None:
    text = (
        'ExceptionGroup: two (2)\n  +---- 1 of 2 ----\n  |   File "/srv/shop/bank.py", line 3, in pay\n  |     pass\n'
    )
    assert innermost_own_frame(text) == "/srv/shop/bank.py:3 in pay"


@pytest.mark.parametrize(
    ("facts", "payload", "shown"),
    [
        ({"done": 3, "total": 10}, {"note": "booked"}, "progress  3 of 10, booked"),
        ({"done": 1500}, None, "progress  1,500"),
        ({"done": "three", "total": 10}, None, None),
    ],
)
def test_progress_stands_in_the_head(facts: object, payload: object, shown: str | None) -> None:
    story = story_of([EventExcerpt(1, "run.progressed", None, None, T0, False, facts, payload)])
    lines = Drawing().draw(Header("order-1", "shop.order", "running"), story, T0, "")
    assert next((line for line in lines if line.startswith("progress")), None) == shown
