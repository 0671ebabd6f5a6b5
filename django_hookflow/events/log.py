"""The only caller of the functions that write: start a run, claim a turn, append, renew, release, operate.

Each call is one round trip. Called outside a transaction it is one commit; inside one it belongs to the caller's.
Facts and payloads are handed over as JSON text, which the database stores to the letter and hashes.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import IntegrityError

from django_hookflow.events.database import cursor, diagnosis, fetch_hot, only_for, repeated_on_conflict
from django_hookflow.events.types import CHILD, STEP_COMPLETED
from django_hookflow.exceptions import ArchivedRun, ConcurrentAppend, OperationRefused, UnknownRun
from django_hookflow.sql import load


@dataclass(frozen=True)
class NewEvent:
    """An event to append; ``facts`` and ``payload`` are JSON text, see :mod:`.types`."""

    type: str
    step_id: str | None = None
    facts: str = "{}"
    payload: str | None = None
    starts: NewRun | None = None


@dataclass(frozen=True)
class NewRun:
    """A run that begins with an event of another. ``more`` is what else ``hookflow_start_from`` is given, members in JSON."""

    run_uid: UUID
    run_id: str
    workflow_id: str
    facts: str
    payload: str
    more: str
    timeout: float | None = None

    def as_json(self) -> str:
        names = {"run_uid": str(self.run_uid), "run_id": self.run_id, "workflow": self.workflow_id}
        return f'{json.dumps(names)[:-1]},"facts":{self.facts},"payload":{self.payload},{self.more}}}'


@dataclass(frozen=True)
class Sending:
    """What whoever announces a turn does about its message.

    With ``grace`` it sends the message itself if that is due within ``reach`` seconds, and a relay only steps in ``grace``
    seconds after it was due; without, a relay sends it when it is due.
    """

    grace: float | None = None
    reach: float = 0.0


LEFT_TO_RELAY = Sending()


@dataclass(frozen=True)
class Appended:
    """The new length of a run's log and, where a turn ended, the seconds until the next is due (None: none is).

    ``is_handed_on`` says that the run has ended and others are to hear of it; ``started`` are the runs that have begun.
    """

    seq: int
    next_in: float | None
    is_handed_on: bool | None = None
    started: Sequence[UUID] = ()


@dataclass(frozen=True)
class Started:
    """The run that has the id, or the unique key: made by this call or not, and if not, whether from the same workflow and data.

    ``due_in`` is in how many seconds the first turn of a run that was made is due.
    """

    run_uid: UUID
    created: bool
    same: bool
    seq: int
    run_id: str
    due_in: float | None


@dataclass(frozen=True)
class RunStart:
    """When a run is to begin, and what no other run that is under way may have been started with.

    ``delay`` is in seconds, ``at`` a moment as facts have it; at most one is given.
    """

    unique: str | None = None
    delay: float | None = None
    at: str | None = None


AT_ONCE = RunStart()


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    seq: int
    type: str
    step_id: str | None
    facts: str
    payload: str | None


@dataclass(frozen=True)
class Claim:
    """What a delivery may do: ``answer`` is one of those of ``hookflow_claim``; the rest is set as far as it has sense.

    ``later`` is in how many seconds another delivery may get another answer.
    """

    answer: str
    run_uid: UUID | None = None
    turn_seq: int = 0
    later: float | None = None
    history: list[RecordedEvent] = field(default_factory=list)


@dataclass(frozen=True)
class Beginning:
    """Turns that whoever takes their messages runs itself: of these workflows. ``facts`` are those of their first events."""

    workflows: list[str]
    owner: str
    lease_seconds: float
    facts: dict[str, Any]


@dataclass(frozen=True)
class Taken:
    """A message that is to be sent, or a turn that has begun with its taking (``claim``)."""

    claim: Claim | None
    workflow_id: str
    run_id: str
    seq: int
    run_uid: UUID
    attempt: int
    kind: str


#: Names under which the functions refuse.
ONE_SEQ_ONE_EVENT = "django_hookflow_event_pk"
OF_A_LIVING_RUN = "django_hookflow_event_of_a_living_run"
OPERATION_MAKES_SENSE = "django_hookflow_operation_makes_sense"
ONE_RUN_A_KEY = "django_hookflow_head_unique_key"

_SENDING = "make_interval(secs => %s), make_interval(secs => %s)"


@functools.cache
def _append_statement(events: int, ends_turn: bool, starts: bool) -> str:
    """The call for so many events. Arrays are built from plain parameters, which psycopg quotes faster than lists."""
    text, json_ = (f"ARRAY[{', '.join(['%s'] * events)}]::{kind}[]" for kind in ("text", "json"))
    ending = f", true, %s, {_SENDING}" if ends_turn else ""
    append = f"hookflow_append(%s, %s, {text}, {text}, {json_}, {json_}, %s{ending}) AS a"
    if not starts:
        return f"SELECT a.seq, a.next_in, a.handed_on FROM {append}"
    return (
        f"SELECT s.seq, s.next_in, a.handed_on, s.started FROM {append}, "
        f"hookflow_start_from(a.seq, a.next_in, %s, %s, {_SENDING}) AS s"
    )


#: The commonest append, by the shortest way; as it ends no turn, no next one is due.
_COMPLETE = "SELECT hookflow_complete(%s, %s, %s, %s, %s), NULL::float8"
_START = (
    "SELECT run_uid, created, same, seq, run_id, due_in "
    f"FROM hookflow_start(%s, %s, %s, %s, %s, %s, {_SENDING}, %s, %s, %s)"
)
_OPERATE = f"SELECT applied, seq, attempt, delay FROM hookflow_operate(%s, %s, %s, %s, %s, %s, {_SENDING})"
_SIGNAL = f"SELECT applied, seq, attempt, delay FROM hookflow_signal(%s, %s, %s, %s, %s, {_SENDING})"
_TAKE = "SELECT * FROM hookflow_take(%s, %s, make_interval(secs => %s), %s, %s, %s, make_interval(secs => %s), %s)"
_JOIN = f"SELECT applied, seq, attempt, delay FROM hookflow_join(%s, %s, %s, %s, %s, {_SENDING}, %s)"
_CLAIM = "SELECT * FROM hookflow_claim(%s, %s, %s, %s, make_interval(secs => %s), %s)"


@repeated_on_conflict
def append(
    run_uid: UUID,
    expected_seq: int | None,
    events: Sequence[NewEvent],
    *,
    actor: str | None = None,
    ends_turn: bool = False,
    goes_on: bool = False,
    sending: Sending = LEFT_TO_RELAY,
) -> Appended:
    """Appends ``events``. The options are those of ``hookflow_append``; the last two count where the turn ends.

    Raises ConcurrentAppend, nothing written, when the log is not where ``expected_seq`` says, and UnknownRun when there is
    no such run or it has been archived.
    """
    arguments: list[Any] = [str(run_uid), expected_seq]
    if expected_seq is not None and actor is None and not ends_turn and _is_completion(events):
        statement = _COMPLETE
        arguments += [events[0].step_id, events[0].facts, events[0].payload]
    else:
        starts = [event.starts for event in events if event.starts is not None]
        statement = _append_statement(len(events), ends_turn, bool(starts))
        arguments += [event.type for event in events]
        arguments += [event.step_id for event in events]
        arguments += [event.facts for event in events]
        arguments += [event.payload for event in events]
        arguments.append(actor)
        if ends_turn:
            arguments += [goes_on, sending.grace, sending.reach]
        if starts:
            runs = f"[{','.join(run.as_json() for run in starts)}]"
            arguments += [str(run_uid), runs, sending.grace, sending.reach]
    try:
        [row] = fetch_hot(statement, arguments)
        return Appended(*row)
    except IntegrityError as error:
        raise _explained(error, run_uid, expected_seq) from error


def _is_completion(events: Sequence[NewEvent]) -> bool:
    return len(events) == 1 and events[0].type == STEP_COMPLETED


def _explained(error: IntegrityError, run_uid: UUID, expected_seq: int | None) -> Exception:
    constraint = diagnosis(error, "constraint_name")
    if constraint == ONE_SEQ_ONE_EVENT:
        actual = diagnosis(error, "message_detail")
        return ConcurrentAppend(run_uid, expected_seq, int(actual) if actual and actual.isdigit() else None)
    if constraint == OPERATION_MAKES_SENSE:
        return OperationRefused(diagnosis(error, "message_primary") or str(error))
    if constraint == ONE_RUN_A_KEY:
        return OperationRefused(
            f"hookflow: run {run_uid} cannot continue: another run with the same unique key is active"
        )
    return UnknownRun(str(run_uid)) if constraint == OF_A_LIVING_RUN else error


@repeated_on_conflict
def start(
    run_uid: UUID,
    run_id: str,
    workflow_id: str,
    facts: str,
    payload: str,
    *,
    actor: str | None,
    sending: Sending,
    beginning: RunStart = AT_ONCE,
) -> Started:
    """Starts the run ``run_id``, once for each ``run_id``, and announces its first turn; see ``hookflow_start``.

    ``facts`` and ``payload`` are those of its first event; the database adds the run's names and its deadline. Raises
    ArchivedRun when the id was a run's whose events have been archived.
    """
    try:
        arguments = [run_uid, run_id, workflow_id, facts, payload, actor, sending.grace, sending.reach]
        [row] = fetch_hot(_START, [*arguments, beginning.unique, beginning.delay, beginning.at])
        return Started(*row)
    except IntegrityError as error:
        if diagnosis(error, "constraint_name") == OF_A_LIVING_RUN:
            raise ArchivedRun(run_id) from error
        raise


@repeated_on_conflict
def claim(workflow_id: str, run_id: str, seq: int, *, owner: str, lease_seconds: float, facts: dict[str, Any]) -> Claim:
    """Asks for the turn announced at ``seq``; with the answer ``run`` it has begun and the history is the run's.

    ``facts`` are those of its first event.
    """
    rows = fetch_hot(_CLAIM, [workflow_id, run_id, seq, owner, lease_seconds, json.dumps(facts)])
    answer, run_uid, turn_seq, later = rows[0][:4]
    history = [RecordedEvent(*row[4:]) for row in rows] if answer == "run" else []
    return Claim(answer, run_uid, turn_seq or 0, later, history)


@repeated_on_conflict
def take(
    limit: int,
    *,
    until: datetime.datetime | None,
    overdue_seconds: float,
    is_new_first: bool = False,
    beginning: Beginning | None = None,
) -> list[Taken]:
    """Takes due messages, as ``hookflow_take`` says, and begins the turns that ``beginning`` is about."""
    own: list[Any] = [None, None, None, None]
    if beginning is not None:
        own = [beginning.workflows, beginning.owner, beginning.lease_seconds, json.dumps(beginning.facts)]
    rows = fetch_hot(_TAKE, [limit, until, overdue_seconds, is_new_first, *own])
    taken = []
    for message, of_message in itertools.groupby(rows, key=operator.itemgetter(slice(6))):
        events = list(of_message)
        turn_seq = events[0][6]
        history = [RecordedEvent(*row[7:]) for row in events]
        claim = None if turn_seq is None else Claim("run", message[3], turn_seq, None, history)
        taken.append(Taken(claim, *message))
    return taken


def read(run_uid: UUID, first: int, last: int) -> list[RecordedEvent]:
    """A run's events from one seq to another, as a claim answers them."""
    with cursor() as c:
        c.execute(
            "SELECT seq, type, step_id, facts::text, payload::text FROM hookflow_event_readable "
            "WHERE run_uid = %s AND seq BETWEEN %s AND %s ORDER BY seq",
            [run_uid, first, last],
        )
        return [RecordedEvent(*row) for row in c.fetchall()]


def read_times(run_uid: UUID, after: int) -> list[tuple[int, str, datetime.datetime]]:
    """The seq and the type of a run's events after one, and when they were recorded."""
    with cursor() as c:
        c.execute(
            "SELECT seq, type, recorded_at AT TIME ZONE 'UTC' FROM django_hookflow_event "
            "WHERE run_uid = %s AND seq > %s ORDER BY seq",
            [run_uid, after],
        )
        return [(seq, type_, moment.replace(tzinfo=datetime.timezone.utc)) for seq, type_, moment in c.fetchall()]


@repeated_on_conflict
def renew(run_uid: UUID, turn_seq: int, lease_seconds: float) -> bool:
    """Extends the lease of a turn; False when the run has gone to another worker."""
    with cursor() as c:
        c.execute("SELECT hookflow_renew(%s, %s, make_interval(secs => %s))", [run_uid, turn_seq, lease_seconds])
        return bool(c.fetchone()[0])


@repeated_on_conflict
def release(run_uid: UUID, turn_seq: int, retry_in: float, *, goes_on: bool = False) -> bool:
    """Hands a run back in mid-turn, to be taken up again after ``retry_in`` seconds; False when it was not this turn's.

    ``goes_on``: whatever the run waits for.
    """
    with cursor() as c:
        arguments = [run_uid, turn_seq, retry_in, goes_on]
        c.execute("SELECT hookflow_release(%s, %s, make_interval(secs => %s), %s)", arguments)
        return bool(c.fetchone()[0])


@dataclass(frozen=True)
class Operated:
    """Whether an operation changed anything, and the turn that is announced after it (seq None: none)."""

    applied: bool
    seq: int | None
    attempt: int | None
    delay: float | None


def operate(
    run_uid: UUID,
    action: str,
    *,
    step_id: str | None = None,
    facts: str = "{}",
    payload: str,
    actor: str | None,
    sending: Sending,
) -> Operated:
    """Does what an operator asks, as ``hookflow_operate`` says; ``facts`` and ``payload`` are those of its event.

    Raises OperationRefused when it makes no sense as the run stands, and UnknownRun.
    """
    return _operated(_OPERATE, run_uid, action, step_id, facts, payload, actor, sending.grace, sending.reach)


def signal(run_uid: UUID, name: str, id: str | None, value: str, *, actor: str | None, sending: Sending) -> Operated:
    """Sends a run a signal, as ``hookflow_signal`` says; ``value`` is JSON text.

    Raises OperationRefused when the run has ended, and UnknownRun.
    """
    return _operated(_SIGNAL, run_uid, name, id, value, actor, sending.grace, sending.reach)


@dataclass(frozen=True)
class Ending:
    """What the row of a run's end is about: who waits for it (``parent_uid`` None: nobody), and the event that ended it."""

    seq: int
    run_id: str
    status: str
    parent_uid: UUID | None
    parent_run_id: str
    parent_workflow_id: str
    step_id: str
    key: str
    facts: str | None
    payload: str | None


def ending(run_uid: UUID) -> Ending | None:
    """What is to be handed on of a run's end; None if nothing is (any more)."""
    with cursor() as c:
        c.execute(load("ending"), {"run_uid": run_uid})
        row = c.fetchone()
        return None if row is None else Ending(*row)


def join(
    run_uid: UUID, step_id: str, key: str, *, failure: str | None, payload: str, sending: Sending, kind: str = CHILD
) -> Operated:
    """Settles a step's wait for its child, or another ``kind`` of wait, as ``hookflow_join`` says. Raises UnknownRun when the run has gone."""
    return _operated(_JOIN, run_uid, step_id, key, failure, payload, sending.grace, sending.reach, kind)


@repeated_on_conflict
def cancel_orphans(run_uid: UUID, seq: int, most: int) -> list[UUID]:
    """Cancels up to so many of the runs that ``run_uid`` started and does not wait for any more; answers which.

    When there are no more, its row in the outbox goes, if that is the one of ``seq``.
    """
    with cursor() as c:
        c.execute("SELECT hookflow_cancel_orphans(%s, %s, %s)", [run_uid, seq, most])
        return [row[0] for row in c.fetchall()]


@repeated_on_conflict
def rejoin(run_uid: UUID | None = None) -> int:
    """Hands on again the ends that are still waited for, as ``hookflow_rejoin`` says; how many."""
    with cursor() as c:
        c.execute("SELECT hookflow_rejoin(%s)", [run_uid])
        return int(c.fetchone()[0])


def _operated(statement: str, run_uid: UUID, *arguments: Any) -> Operated:
    try:
        with cursor() as c:
            c.execute(statement, [run_uid, *arguments])
            return Operated(*c.fetchone())
    except IntegrityError as error:
        raise _explained(error, run_uid, None) from error


@dataclass(frozen=True)
class Permitted:
    """Whether an operation is ``possible``, already ``done`` or ``refused`` as a run stands, and if not possible why."""

    action: str
    verdict: str
    reason: str | None


def may(run_uid: UUID) -> dict[str, Permitted]:
    """What may be done to a run as it stands, by action; the answer of the function that does it."""
    with cursor() as c:
        c.execute("SELECT action, verdict, reason FROM hookflow_may(%s)", [run_uid])
        return {row[0]: Permitted(*row) for row in c.fetchall()}


@repeated_on_conflict
def redact(run_uid: UUID, seq: int | None, path: list[str] | None, *, reason: str, actor: str | None) -> int:
    """Redacts payloads, as ``hookflow_redact`` says; how many it was.

    Raises OperationRefused for a run that has not ended, UnknownRun, and PermissionDenied when this role may not redact.
    """
    try:
        with only_for("hookflow_redactor", "redact payloads"), cursor() as c:
            c.execute("SELECT hookflow_redact(%s, %s, %s::text[], %s, %s)", [run_uid, seq, path, reason, actor])
            return int(c.fetchone()[0])
    except IntegrityError as error:
        raise _explained(error, run_uid, None) from error


@repeated_on_conflict
def take_over(workflow_id: str, run_id: str, data: str, steps: str, sending: Sending) -> int | None:
    """Has the run that a message of 0.0.x carries go on, as ``hookflow_take_over`` says: the turn that is announced.

    None when the message has nothing to say any more.
    """
    with cursor() as c:
        c.execute(
            f"SELECT hookflow_take_over(%s, %s, %s, %s, {_SENDING})",
            [workflow_id, run_id, data, steps, sending.grace, sending.reach],
        )
        seq: int | None = c.fetchone()[0]
        return seq


@repeated_on_conflict
def expire(workflow_id: str, run_id: str) -> str:
    """Fails the run if its time is up: ``failed``, ``early`` or ``stale``."""
    with cursor() as c:
        c.execute("SELECT hookflow_expire(%s, %s)", [workflow_id, run_id])
        return str(c.fetchone()[0])
