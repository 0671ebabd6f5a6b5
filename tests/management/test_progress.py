"""How far a long command has got: seen on a terminal, in no colour of errors, and nowhere else."""

from __future__ import annotations

import io
from typing import TextIO

import pytest
from django.core.management.base import OutputWrapper

from django_hookflow.management.progress import Progress


class Terminal(io.TextIOWrapper):
    """An output that says it is one, of an encoding of its own."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined, no-any-return]


def wrapped(stream: TextIO) -> OutputWrapper:
    """As Django has it for a command's stderr."""
    wrapper = OutputWrapper(stream)
    wrapper.style_func = lambda text: f"<red>{text}</red>"
    return wrapper


@pytest.mark.parametrize(
    ("total", "done", "seconds", "shown"),
    [
        (100_000, 12_000, 0.5, "███░░░░░░░░░░░░░░░░░░░░░  12 %  12,000 of 100,000 runs, 24,000/s, 4 s left"),
        (100_000, 100_000, 4, "████████████████████████ 100 %  100,000 of 100,000 runs, 25,000/s"),
        (10_000, 20_000, 1, "████████████████████████ 100 %  20,000 of 20,000 runs, 20,000/s"),
        (0, 0, 0, "████████████████████████ 100 %  0 of 0 runs, 0/s"),
        (1_000_000, 1, 10, "░░░░░░░░░░░░░░░░░░░░░░░░   0 %  1 of 1,000,000 runs, 0/s, 115 d 17 h left"),
    ],
)
def test_a_bar_with_rate_and_time_left(total: int, done: int, seconds: float, shown: str) -> None:
    progress = Progress(wrapped(io.StringIO()), "runs", total)
    progress.add(done)
    assert progress.describe(seconds) == shown


def test_it_is_in_no_colour_of_errors_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    with Progress(wrapped(terminal), "runs", 10) as progress:
        progress.add(5)
        progress.hide()
        terminal.write("a line\n")
    written = terminal.text()
    assert "red" not in written
    _, picture, line, end = written.split("\r\x1b[K")
    assert picture.startswith("████████████░░░░░░░░░░░░  50 %  5 of 10 runs, ")
    assert len(picture) <= 59
    assert (line, end) == ("a line\n", "")


def test_an_output_without_such_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal("ascii")
    with Progress(wrapped(terminal), "runs", 10) as progress:
        progress.add(5)
    assert "############------------  50 %" in terminal.text()


def test_nothing_where_it_is_no_terminal() -> None:
    output = io.StringIO()
    with Progress(wrapped(output), "runs", 10) as progress:
        progress.add(5)
    assert output.getvalue() == ""
