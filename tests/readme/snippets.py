"""The fenced blocks of the README, by the heading they stand under."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Any

from tests.checkout import REPOSITORY

README = REPOSITORY / "README.md"
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the ``number``-th of its language under its heading, from 1; ``line`` is that of its first line."""

    heading: str
    language: str
    number: int
    line: int
    text: str

    def run(self, **names: Any) -> dict[str, Any]:
        """Executes Python with ``names`` in place; what it left. A traceback shows the lines of the README."""
        namespace: dict[str, Any] = {"__name__": "readme", **names}
        exec(compile("\n" * (self.line - 1) + self.text, str(README), "exec"), namespace)
        return namespace


def read_blocks() -> list[Block]:
    source = README.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in _BLOCK.finditer(source):
        heading = [found[1] for found in _HEADING.finditer(source, 0, match.start())][-1]
        before = [block for block in blocks if (block.heading, block.language) == (heading, match["language"])]
        line = source.count("\n", 0, match.start("text")) + 1
        blocks.append(Block(heading, match["language"], len(before) + 1, line, textwrap.dedent(match["text"])))
    return blocks


def find_block(heading: str, number: int = 1, language: str = "python") -> Block:
    for block in read_blocks():
        if (block.heading, block.number, block.language) == (heading, number, language):
            return block
    raise AssertionError(f"README.md has no {language} block {number} under {heading!r}")


def read_headings() -> list[str]:
    return _HEADING.findall(README.read_text(encoding="utf-8"))
