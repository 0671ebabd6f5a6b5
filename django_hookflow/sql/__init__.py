"""The statements we run, one file each. What migrations install is frozen beside them instead.

Each begins with a comment that may name its parameters. That comment is for readers and is not sent: a value that is
bound on the client would be written into it, and one with a line break would end it and run as SQL.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from itertools import dropwhile


@cache
def load(name: str) -> str:
    """The text of the statement ``name``, without its ``.sql`` and without the comment that it begins with."""
    text = resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return "".join(dropwhile(lambda line: line.startswith("--"), text.splitlines(keepends=True)))
