"""The pages of the documentation (the README and the guides) and their fenced blocks, by the heading they stand under."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.checkout import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

README = REPOSITORY / "README.md"
GUIDES = REPOSITORY / "django_hookflow" / "guides"
_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: the ``number``-th of its language under its heading, from 1; ``line`` is that of its first line."""

    page: Path
    heading: str
    language: str
    number: int
    line: int
    text: str

    def run(self, **names: Any) -> dict[str, Any]:
        """Executes Python with ``names`` in place; what it left. A traceback shows the lines of the page."""
        namespace: dict[str, Any] = {"__name__": "readme", **names}
        exec(compile("\n" * (self.line - 1) + self.text, str(self.page), "exec"), namespace)
        return namespace


def find_pages() -> list[Path]:
    return [README, *sorted(GUIDES.glob("*.md"))]


def read_blocks() -> list[Block]:
    return [block for page in find_pages() for block in _read_page(page)]


def find_block(heading: str, number: int = 1, language: str = "python") -> Block:
    for block in read_blocks():
        if (block.heading, block.number, block.language) == (heading, number, language):
            return block
    raise AssertionError(f"neither README.md nor a guide has a {language} block {number} under {heading!r}")


def read_headings(page: Path) -> list[str]:
    return _HEADING.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))


def read_all() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in find_pages())


def _read_page(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for match in _BLOCK.finditer(source):
        # A comment in a block before looks like a heading, so blocks are taken out.
        heading = _HEADING.findall(_BLOCK.sub("", source[: match.start()]))[-1]
        before = [block for block in blocks if (block.heading, block.language) == (heading, match["language"])]
        line = source.count("\n", 0, match.start("text")) + 1
        text = textwrap.dedent(match["text"])
        blocks.append(Block(page, heading, match["language"], len(before) + 1, line, text))
    return blocks
