"""How far a reader of the log has come: what it has seen, and where to look for what it has not.

A *window* is what lies between two snapshots: the events visible in the later and not in the earlier one. It is read in
order of position, a batch at a time, and closed when it has been read; then the next one is opened.

A *mark* (position, xid) says that every transaction with that xid or a later one draws positions above that position
only. Marks are taken as windows are opened. They narrow a window down: what is new in it was written by transactions
from a certain xid on, so nothing new lies at or below the mark that goes with it. A transaction that stays open for
minutes costs nothing until it ends; then one scan goes back as far as it may have drawn.

Nothing here asks the database; see :mod:`.reader` for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

#: Marks are thinned out beyond this; any subset of them is right, it only makes some scan longer.
MOST_MARKS = 32


class XidMark(NamedTuple):
    position: int
    xid: int


@dataclass(frozen=True)
class Snapshot:
    """A ``pg_snapshot``: transactions below ``xmin`` had ended, those from ``xmax`` on and in ``running`` had not."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(xid) for xid in running.split(",") if xid))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    def with_running(self, xid: int | None) -> Snapshot:
        """The same as a transaction with this id sees it that has not ended."""
        if xid is None or not self.shows(xid):
            return self
        return replace(self, xmin=min(self.xmin, xid), running=self.running | {xid})

    def shows(self, xid: int) -> bool:
        """Whether the transaction had ended when the snapshot was taken."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    def find_first_news(self, later: Snapshot) -> int | None:
        """The lowest xid that ``later`` shows and this one does not; None when there is none."""
        ended = [xid for xid in self.running if later.shows(xid)]
        if ended:
            return min(ended)
        xid = self.xmax
        while xid in later.running:
            xid += 1
        return xid if xid < later.xmax else None


@dataclass(frozen=True)
class Position:
    """What a reader remembers; made by :meth:`beginning`, :meth:`after` or :meth:`ending`.

    ``seen`` is the snapshot up to which all has been read, None before the first window is closed. While a window is
    open, ``reading`` is its later snapshot, ``cursor`` the position up to which it has been read and ``end`` where it
    ends. ``marks`` go from old to new; the first is the *floor*, at or below which nothing is left to read.
    ``cluster`` names the server the snapshots are of. ``oracle`` is a mark that the first window goes by: at or below
    its position, a transaction with its xid or a later one can only have been another server's, before a restore.
    """

    cluster: str = ""
    seen: Snapshot | None = None
    reading: Snapshot | None = None
    cursor: int = 0
    end: int = 0
    marks: tuple[XidMark, ...] = (XidMark(0, 0),)
    oracle: XidMark | None = None

    @classmethod
    def after(cls, position: int) -> Position:
        """Before any reading, everything above ``position`` to be read; 0 is the beginning of the log."""
        return cls(marks=(XidMark(position, 0),))

    @classmethod
    def ending(cls, cluster: str, drawn: int, seen: Snapshot) -> Position:
        """The end of the log: what has been drawn or is visible by now is not to be read."""
        return cls(cluster, seen=seen, marks=(XidMark(drawn, 0),))

    @property
    def floor(self) -> int:
        return self.marks[0].position

    @property
    def reached(self) -> int:
        """The position up to which, but for transactions that were open, all has been read; for people."""
        return self.cursor if self.reading else self.marks[-1].position

    def is_settled_at(self, drawn: int) -> bool:
        """Whether nothing can be new as long as no position above ``drawn`` has been drawn."""
        return self.reading is None and self.seen is not None and len(self.marks) == 1 and self.floor >= drawn

    def moved_to(self, cluster: str) -> Position:
        """On another server than before, whose transaction ids mean something else: all above the floor is read again."""
        return Position(cluster, marks=(XidMark(self.floor, 0),))

    def opened(self, reading: Snapshot, end: int, mark: XidMark | None, drawn: int) -> Position:
        """With the window up to ``reading``, which reaches to ``end``; closed at once when nothing can be new in it.

        Without a ``mark`` the first window has all it can see of what was ``drawn``, and some of it may come again.
        """
        marks = self.marks if mark is None else (*self.marks, mark)
        if self.seen is None:
            window = replace(self, cursor=self.floor, oracle=mark or XidMark(drawn, 0))
        else:
            first = self.seen.find_first_news(reading)
            window = replace(self, cursor=end if first is None else max(m.position for m in marks if m.xid <= first))
        return replace(window, reading=reading, end=max(end, window.cursor), marks=marks).closed_if_read()

    def read_to(self, position: int) -> Position:
        """With the open window read up to ``position``."""
        return replace(self, cursor=position).closed_if_read()

    def closed_if_read(self) -> Position:
        if self.reading is None or self.cursor < self.end:
            return self
        older = [mark for mark in self.marks if mark.xid <= self.reading.xmin]
        marks = self.marks[max(0, len(older) - 1) :]
        return replace(self, seen=self.reading, reading=None, cursor=0, end=0, marks=_thinned(marks), oracle=None)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it; :meth:`from_json` reads it."""
        values = asdict(self)
        return {**values, "seen": self.seen and str(self.seen), "reading": self.reading and str(self.reading)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Position:
        seen, reading = (Snapshot.parse(values[name]) if values[name] else None for name in ("seen", "reading"))
        marks = tuple(XidMark(*mark) for mark in values["marks"])
        oracle = values["oracle"] and XidMark(*values["oracle"])
        return cls(values["cluster"], seen, reading, values["cursor"], values["end"], marks, oracle)


def _thinned(marks: tuple[XidMark, ...]) -> tuple[XidMark, ...]:
    """Few enough: the first and the last, and of those between every other one, so that old ones lie further apart."""
    if len(marks) <= MOST_MARKS:
        return marks
    return (marks[0], *marks[1:-1:2], marks[-1])
