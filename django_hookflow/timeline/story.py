"""What a story is made of. See :mod:`.telling` for how the events of a run come to it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any, Literal

#: ``running``: a turn works; ``lost``: it did, and nobody knows how far it came; ``sleeping``: until a time the workflow
#: chose; ``backoff``: until the next attempt; ``waiting``: for a delivery; ``held``: paused by an operator; ``stopped``:
#: failed, in doubt, diverged or otherwise at rest, until somebody spoke.
Kind = Literal["running", "lost", "sleeping", "backoff", "waiting", "held", "stopped"]

#: Kinds in which somebody works on the run.
BUSY: frozenset[Kind] = frozenset({"running", "lost"})


@dataclass
class Segment:
    """A stretch of time of one kind.

    ``end`` is None while it lasts, ``until`` is when a sleep or a backoff is to end, ``seq`` names the event that ended
    it, or began it if none has.
    """

    kind: Kind
    start: datetime.datetime
    end: datetime.datetime | None = None
    until: datetime.datetime | None = None
    attempt: int = 0
    outcome: str = ""
    seq: int = 0

    def seconds(self, now: datetime.datetime) -> float:
        return max(0.0, ((self.end or now) - self.start).total_seconds())

    def close(self, moment: datetime.datetime, seq: int, outcome: str = "") -> None:
        self.end, self.seq, self.outcome = max(self.start, moment), seq, outcome


@dataclass
class Row:
    """One step, in the order in which steps were first recorded.

    ``state`` is ``running``, ``sleeping``, ``backoff``, ``completed``, ``failed``, ``doubted`` or ``pending`` (its turn
    was lost or handed back). A step that ran again after a rewind or a replay has a row for each time; the earlier ones
    are ``superseded``. ``attempts`` counts those that have begun. ``error`` is that of the last attempt that failed,
    also when a later one has completed: ``{"type": str, "message": str, "traceback": str}``, or None.
    """

    step_id: str
    kind: str = ""
    state: str = "pending"
    attempts: int = 0
    segments: list[Segment] = field(default_factory=list)
    error: dict[str, str] | None = None
    seq: int = 0
    superseded: bool = False
    resolved: bool = False

    @property
    def start(self) -> datetime.datetime | None:
        return self.segments[0].start if self.segments else None

    @property
    def end(self) -> datetime.datetime | None:
        return self.segments[-1].end if self.segments else None

    def seconds(self, now: datetime.datetime) -> float:
        """From its beginning to its end, the pauses between attempts included."""
        return max(0.0, ((self.end or now) - self.start).total_seconds()) if self.start else 0.0

    def worked(self, now: datetime.datetime) -> float:
        """What its attempts took."""
        return sum(segment.seconds(now) for segment in self.segments if segment.kind in BUSY)


@dataclass
class Turn:
    """One delivery's worth of work, from its first event to its last; ``end`` is None while it lasts."""

    seq: int
    start: datetime.datetime
    worker: str = ""
    end: datetime.datetime | None = None
    outcome: str = ""


@dataclass
class Mark:
    """Something said to the run rather than done by it: who triggered it, paused it, redacted an event, and why."""

    seq: int
    at: datetime.datetime
    type: str
    actor: str = ""
    reason: str = ""
    step_id: str | None = None


@dataclass
class Failure:
    """A failure that is not, or not only, an attempt's: of the run, of a turn between steps, or a divergence."""

    seq: int
    type: str
    step_id: str | None
    error: dict[str, str] | None
    attempts: int = 0
    #: Of a divergence: the step that is recorded, and the one the code asked for (None: it had ended).
    recorded: str = ""
    asked: str | None = None


@dataclass
class Story:
    """What the events of a run, up to a point, come to."""

    rows: list[Row] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    #: From the trigger on, without a gap and without an overlap; the last one is open while the run lives.
    life: list[Segment] = field(default_factory=list)
    #: Those of ``life`` that no row shows: waiting, held, stopped, and the pauses after a turn failed between steps.
    waits: list[Segment] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    #: Of the run, the latest; None once it goes on.
    failure: Failure | None = None
    #: Runs that do again, from the beginning, what this one failed to do.
    restarted_as: list[str] = field(default_factory=list)
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    last_seq: int = 0
    last_at: datetime.datetime | None = None
    #: The row of the attempt, sleep or pause that the run is in, if it is in one.
    current: Row | None = None
    retries: int = 0

    @property
    def turn(self) -> Turn | None:
        """The turn that works on the run now."""
        return self.turns[-1] if self.turns and self.turns[-1].end is None else None

    @property
    def steps(self) -> int:
        """How many steps stand completed."""
        return sum(row.state == "completed" and not row.superseded for row in self.rows)

    def row(self, step_id: str | None) -> Row | None:
        """The row of a step that still counts."""
        return next((row for row in reversed(self.rows) if row.step_id == step_id and not row.superseded), None)

    def mark(self, *types: str) -> Mark | None:
        """The latest thing of these types that was said."""
        return next((mark for mark in reversed(self.marks) if mark.type in types), None)

    def seconds(self, now: datetime.datetime) -> float:
        """From the trigger to the end."""
        return max(0.0, ((self.end or now) - self.start).total_seconds()) if self.start else 0.0


def error_of(payload: dict[str, Any]) -> dict[str, str] | None:
    """The error that an event's payload tells of, its parts as text."""
    error = payload.get("error")
    if not isinstance(error, dict):
        return None
    return {part: str(error.get(part) or "") for part in ("type", "message", "traceback")}
