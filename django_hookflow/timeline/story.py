"""What a story is made of. See :mod:`.folding` for how the events of a run come to it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

from django_hookflow.events.types import CHILD, SIGNAL

#: ``running``: a turn works; ``lost``: it did, and nobody knows how far it came; ``sleeping``: until a time that the
#: workflow or its trigger chose; ``backoff``: until the next attempt; ``suspended``: for something else that a step
#: waits for; ``waiting``: for a delivery; ``held``: paused by an operator; ``stopped``: failed, in doubt or diverged,
#: until somebody acts.
Kind = Literal["running", "lost", "sleeping", "backoff", "suspended", "waiting", "held", "stopped"]

#: Kinds in which somebody works on the run.
BUSY: frozenset[Kind] = frozenset({"running", "lost"})


#: Waits that say what they are for, by their kind.
NAMED = {SIGNAL: "the signal {}", CHILD: "run {}"}


@dataclass(slots=True)
class Segment:
    """A stretch of time of one kind.

    ``end`` is None while it lasts, ``until`` is when a sleep or a backoff is to end, ``wait`` is the recorded kind of a wait
    and ``key`` what it names, ``seq`` names the event that ended it, or began it if none has.
    """

    kind: Kind
    start: datetime.datetime
    end: datetime.datetime | None = None
    until: datetime.datetime | None = None
    attempt: int = 0
    outcome: str = ""
    seq: int = 0
    wait: str = ""
    key: str = ""

    @property
    def awaited(self) -> str:
        """What a wait is for, in words."""
        if self.key and self.wait in NAMED:
            return NAMED[self.wait].format(self.key)
        return self.wait.replace("_", " ")

    def seconds(self, now: datetime.datetime) -> float:
        return max(0.0, ((self.end or now) - self.start).total_seconds())

    def close(self, moment: datetime.datetime, seq: int, outcome: str = "") -> None:
        self.end, self.seq, self.outcome = max(self.start, moment), seq, outcome


@dataclass(slots=True)
class Row:
    """One step, in the order in which steps were first recorded.

    ``state`` is ``running``, ``sleeping``, ``backoff``, ``suspended``, ``completed``, ``failed``, ``doubted`` or ``pending``
    (its next attempt is due, or a worker was lost in one). A step that ran again after a rewind or a replay has a row for
    each time; the earlier ones are ``superseded``. ``attempts`` counts those that have begun, of ``max_attempts`` if the
    log has it (else 0). ``error`` is that of the last attempt that failed, also when a later one has completed:
    ``{"type": str, "message": str, "traceback": str}``, or None.
    """

    step_id: str
    kind: str = ""
    state: str = "pending"
    attempts: int = 0
    max_attempts: int = 0
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

    def waited(self, now: datetime.datetime) -> float:
        """What its waits took."""
        return sum(segment.seconds(now) for segment in self.segments if segment.kind not in BUSY)


@dataclass(slots=True)
class TurnSpan:
    """One delivery's worth of work, from its first event to its last; ``end`` is None while it lasts.

    ``version`` is that of the project's code, "" where none was recorded.
    """

    seq: int
    start: datetime.datetime
    worker: str = ""
    end: datetime.datetime | None = None
    outcome: str = ""
    version: str = ""


@dataclass(slots=True)
class Mark:
    """Something that was done to the run rather than by it: who triggered it, paused it, redacted an event, and why."""

    seq: int
    at: datetime.datetime
    type: str
    actor: str = ""
    reason: str = ""
    step_id: str | None = None


@dataclass
class Failure:
    """A failure that is not, or not only, an attempt's: of the run, of a turn between steps, or a divergence.

    ``attempts`` is how many were made, of ``max_attempts`` if the log has it (else 0); ``is_redacted``: what is
    missing of ``error`` has been removed. Of a divergence: the step that is ``recorded``, and the one the code ``asked``
    for (None: it had ended).
    """

    seq: int
    type: str
    step_id: str | None
    error: dict[str, str]
    attempts: int = 0
    max_attempts: int = 0
    is_redacted: bool = False
    recorded: str = ""
    asked: str | None = None


@dataclass(slots=True)
class SaidProgress:
    """What the workflow said last of how far it is: ``done`` of ``total``, where that is known."""

    done: float
    total: float | None
    note: str = ""

    @property
    def counted(self) -> str:
        return f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"

    def __str__(self) -> str:
        return f"{self.counted}, {self.note}" if self.note else self.counted


@dataclass
class Story:
    """What the events of a run, up to a point, come to."""

    rows: list[Row] = field(default_factory=list)
    turns: list[TurnSpan] = field(default_factory=list)
    #: From the trigger on, without a gap and without an overlap; the last one is open while the run lives.
    life: list[Segment] = field(default_factory=list)
    #: Those of ``life`` that no row shows: waiting, held, stopped, and the pauses after a turn failed between steps.
    waits: list[Segment] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    #: Of the run, the latest; None once it goes on.
    failure: Failure | None = None
    #: Runs that do again, from the beginning, what this one failed to do.
    restarted_as: list[str] = field(default_factory=list)
    #: What started it if nobody did by hand, by ``kind``: the ``run_id`` that it names, of a parent or a run gone before.
    origin: dict[str, str] = field(default_factory=dict)
    progress: SaidProgress | None = None
    #: The run that goes on in its place.
    continued_as: str = ""
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    #: When the run's time is up, if it was started with a timeout.
    deadline: datetime.datetime | None = None
    last_seq: int = 0
    last_at: datetime.datetime | None = None
    #: The row of the attempt or the wait that the run is in, or whose next attempt is due, if there is one.
    current: Row | None = None
    #: Attempts that followed a failed one; one that is still to come does not count.
    retries: int = 0

    @property
    def turn(self) -> TurnSpan | None:
        """The turn that works on the run now."""
        return self.turns[-1] if self.turns and self.turns[-1].end is None else None

    @property
    def steps(self) -> int:
        """How many steps stand completed."""
        return sum(row.state == "completed" and not row.superseded for row in self.rows)

    @property
    def versions(self) -> list[str]:
        """Of the project's code, in the order in which they first worked on the run."""
        return list(dict.fromkeys(turn.version for turn in self.turns if turn.version))

    def row(self, step_id: str | None) -> Row | None:
        """The row of a step that still counts."""
        return next((row for row in reversed(self.rows) if row.step_id == step_id and not row.superseded), None)

    def mark(self, *types: str) -> Mark | None:
        """The latest of these types."""
        return next((mark for mark in reversed(self.marks) if mark.type in types), None)

    def seconds(self, now: datetime.datetime) -> float:
        """From the trigger to the end."""
        return max(0.0, ((self.end or now) - self.start).total_seconds()) if self.start else 0.0
