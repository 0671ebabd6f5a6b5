"""One thing that is not as this package installs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: unguarded    a table on which a guard trigger is missing, or not always on
#: differs      an object of ours, not as its file has it
#: missing      an object of ours that is not there
#: planted      something on a table of ours, or beside our functions, that is not ours
#: shadowed     an object that names of ours, or names that ours use, are taken for on this login's search_path
#: uncompared   a view whose text says the same or something else: this login cannot find out
Kind = Literal["unguarded", "differs", "missing", "planted", "shadowed", "uncompared"]


@dataclass(frozen=True)
class Deviation:
    """``what`` names the object, as ``function f(uuid)`` or ``trigger t on x``; of a table without a guard, the table.

    ``detail`` says in a few words what differs, or which statements nothing refuses; ``file`` restores it, if any does.
    """

    kind: Kind
    what: str
    detail: str = ""
    file: str = ""

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})" if self.detail else self.what
