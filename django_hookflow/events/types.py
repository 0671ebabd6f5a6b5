"""The catalogue of events: every type that the log can hold, and what follows from it.

:data:`CATALOGUE` is the one place that says so. The SQL functions that need to know (``hookflow_status_after`` and its
siblings in the migration of the folds) are generated from it, and whoever reads events (timeline, history, filters,
verify, documentation) is tested against it. To add a type: an entry here, whoever appends it, a sentence in
``django_hookflow/timeline`` and a row in ``django_hookflow/guides/reading_the_log.md``.

An event says things in two places. Its ``facts`` are what the engine says: a JSON object with the keys listed here, small,
never a user's data, never sealed and never redacted. Its ``payload`` is what the user said: a JSON object, redactable; null
where there is nothing to say. A *value* in it (data, a result) is encoded by :mod:`.codec`, and sealed where a seal is
configured; texts (a reason, the message of an error) are not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EventType:
    """One type of event.

    ``status`` is the status it puts its run in; ``ends_run`` says that the run is over then. ``waits_begun`` is the kind of
    wait it begins: of its step, or of the run if it names no step; "kind" stands for the kind among its facts, and
    ``length`` names the fact that says after how many seconds that wait is due. ``settles_step`` says that it ends every
    wait of its step, ``settles_run`` which kinds of wait of the run itself. ``is_act`` marks what people do to runs.
    """

    name: str
    meaning: str
    facts: tuple[str, ...] = ()
    payload: tuple[str, ...] = ()
    status: str | None = None
    ends_run: bool = False
    waits_begun: str | None = None
    length: str | None = None
    settles_step: bool = False
    settles_run: tuple[str, ...] = ()
    is_act: bool = False

    @property
    def is_of_step(self) -> bool:
        """Whether it is about the step that its ``step_id`` names."""
        return self.name.startswith("step.")

    @property
    def is_of_turn(self) -> bool:
        """Whether it only says that a worker came or went: a run that has nothing but these gets nowhere."""
        return self.name.startswith("turn.")


RUN_TRIGGERED = "run.triggered"
RUN_DELAYED = "run.delayed"
RUN_PROGRESSED = "run.progressed"
RUN_COMPLETED = "run.completed"
RUN_FAILED = "run.failed"
RUN_DIVERGED = "run.diverged"
RUN_CANCELLED = "run.cancelled"
RUN_PAUSED = "run.paused"
RUN_RESUMED = "run.resumed"
RUN_WOKEN = "run.woken"
RUN_REPLAYED = "run.replayed"
RUN_REPLAY_REPEATED = "run.replay_repeated"
RUN_RESTARTED = "run.restarted"
RUN_REWOUND = "run.rewound"
RUN_REBUILT = "run.rebuilt"
RUN_NOTED = "run.noted"
RUN_IMPORTED = "run.imported"
TURN_STARTED = "turn.started"
TURN_ABANDONED = "turn.abandoned"
TURN_FAILED = "turn.failed"
STEP_INTENDED = "step.intended"
STEP_SUSPENDED = "step.suspended"
STEP_RETRIED = "step.retried"
STEP_COMPLETED = "step.completed"
STEP_FAILED = "step.failed"
STEP_RESOLVED = "step.resolved"
STEP_SUPERSEDED = "step.superseded"
DEAD_LETTER_REMOVED = "dead_letter.removed"
SIGNAL_RECEIVED = "signal.received"
EVENT_REDACTED = "event.redacted"
EVENT_RETAINED = "event.retained"

#: Kinds of wait. The first six are of a step (a backoff also of the run, between steps), the others of the run itself.
SLEEP, BACKOFF, DOUBT, SIGNAL, CHILD, CALLBACK = "sleep", "backoff", "doubt", "signal", "child", "callback"
HOLD, DIVERGENCE, DEADLINE, START = "hold", "divergence", "deadline", "start"
#: The scope of a wait that others are not waited for with: the run goes on as soon as it is over.
TASK = "task"
#: The kind of a step that was completed with a release 0.0.x, which recorded none; it stands for any.
IMPORTED = "imported"
#: The status a run has because a step of it waits so; other waits of steps leave it running.
STATUS_WHILE = {DOUBT: "in_doubt"}

_TYPES = (
    EventType(
        RUN_TRIGGERED,
        "the run was started; always its first event. `until` is its deadline, by the database's clock; the origin of "
        "a child names its `parent`, and the `step` that waits for it under `key`",
        facts=("run_id", "workflow", "timeout", "until", "origin", "subject", "trace", "unique"),
        payload=("data", "label"),
        status="pending",
        waits_begun=DEADLINE,
        length="timeout",
    ),
    EventType(
        RUN_DELAYED,
        "the run will not begin before `until`; its timeout counts from then",
        facts=("until",),
        waits_begun=START,
    ),
    EventType(
        TURN_STARTED,
        "a delivery started to work on the run",
        facts=("worker", "transport", "version", "message_id", "retried", "attempt"),
        status="running",
        settles_run=(BACKOFF, START),
    ),
    EventType(
        TURN_ABANDONED,
        "the turn that started at `turn_seq` did not end before its lease expired",
        facts=("turn_seq",),
    ),
    EventType(
        TURN_FAILED,
        "the workflow raised an error between steps; it is retried after `retry_in` seconds, at `until`",
        facts=("attempt", "of", "retry_in", "until", "error", "fingerprint"),
        payload=("message", "traceback"),
        waits_begun=BACKOFF,
        length="retry_in",
    ),
    EventType(
        STEP_INTENDED,
        "the step is about to do something that must not be repeated blindly",
        facts=("kind", "attempt", "of"),
    ),
    EventType(
        STEP_SUSPENDED,
        "the step waits: `kind` says for what, `until` when the wait ends by itself (if it does), `key` for whom",
        facts=("kind", "seconds", "until", "step_kind", "attempt", "key", "scope"),
        waits_begun="kind",
        length="seconds",
    ),
    EventType(
        STEP_RETRIED,
        "the backoff after a failed attempt is over; attempt number `attempt` is next. For an offloaded call: that "
        "attempt goes on, because it was `answered` without a result or has `timed_out`",
        facts=("attempt", "answered", "timed_out"),
        payload=("answer",),
        settles_step=True,
    ),
    EventType(
        STEP_COMPLETED,
        "the step has a result; its last attempt worked for `took` seconds",
        facts=("kind", "attempt", "took", "resolved", "by", "timed_out", "scope"),
        payload=("result",),
        settles_step=True,
    ),
    EventType(
        STEP_FAILED,
        "an attempt failed after `took` seconds; if there is a `retry_in`, the next attempt follows after that many "
        "seconds",
        facts=("kind", "attempt", "of", "took", "retry_in", "error", "fingerprint", "scope"),
        payload=("message", "traceback"),
        settles_step=True,
    ),
    EventType(
        STEP_RESOLVED,
        "somebody recorded the outcome of a step in doubt; its completion follows",
        payload=("reason",),
        status="running",
        is_act=True,
    ),
    EventType(STEP_SUPERSEDED, "what is recorded for the step no longer counts", settles_step=True),
    EventType(
        RUN_PROGRESSED,
        "the workflow reported its progress: `done` of `total`, if that is known. It is appended with the next event",
        facts=("done", "total"),
        payload=("note",),
    ),
    EventType(
        RUN_COMPLETED,
        "the workflow returned; `continued_by` is the run that replaces it",
        facts=("continued_by",),
        payload=("result",),
        status="completed",
        ends_run=True,
    ),
    EventType(
        RUN_FAILED,
        "the run failed for good; the event names the step, if it failed in one",
        facts=("attempts", "error", "fingerprint"),
        payload=("message", "traceback"),
        status="failed",
        ends_run=True,
    ),
    EventType(
        RUN_DIVERGED,
        "the code no longer matches the run's history: step `recorded` is recorded, but the code called `asked`",
        facts=("recorded", "asked", "error"),
        payload=("message",),
        status="diverged",
        waits_begun=DIVERGENCE,
    ),
    EventType(
        RUN_CANCELLED, "somebody cancelled the run", payload=("reason",), status="cancelled", ends_run=True, is_act=True
    ),
    EventType(
        RUN_PAUSED, "somebody paused the run", payload=("reason",), status="paused", waits_begun=HOLD, is_act=True
    ),
    EventType(
        RUN_RESUMED,
        "somebody resumed the run",
        payload=("reason",),
        status="running",
        settles_run=(HOLD, DIVERGENCE),
        is_act=True,
    ),
    EventType(
        RUN_WOKEN,
        "somebody ended the run's sleeps and backoffs early",
        payload=("reason",),
        status="running",
        settles_run=(BACKOFF, START),
        is_act=True,
    ),
    EventType(
        RUN_REPLAYED,
        "somebody replayed the run after the failure at `failed_seq`",
        facts=("failed_seq",),
        payload=("reason",),
        status="running",
        settles_run=(HOLD, DIVERGENCE, BACKOFF, START),
        is_act=True,
    ),
    EventType(
        RUN_REPLAY_REPEATED,
        "somebody asked for the same replay again, without effect",
        facts=("failed_seq",),
        payload=("reason",),
        is_act=True,
    ),
    EventType(
        RUN_RESTARTED,
        "after the failure at `failed_seq`, somebody started the new run `run_id`, which does everything from the "
        "beginning",
        facts=("failed_seq", "run_id"),
        payload=("reason",),
        is_act=True,
    ),
    EventType(
        RUN_REWOUND,
        "somebody rewound the run: the step that the event names, and all steps recorded after it, run again; "
        "`failed_seq` is the failure that this resolves",
        facts=("failed_seq",),
        payload=("reason",),
        status="running",
        settles_run=(HOLD, DIVERGENCE, BACKOFF, START),
        is_act=True,
    ),
    EventType(
        RUN_REBUILT,
        "somebody rebuilt the run's projections; `repaired` rows were wrong",
        facts=("repaired",),
        payload=("reason",),
        is_act=True,
    ),
    EventType(
        RUN_NOTED,
        "somebody added a note to the run, as the reason; it has no other effect",
        payload=("reason",),
        is_act=True,
    ),
    EventType(
        SIGNAL_RECEIVED,
        "the run was sent the signal `name`; sending it again with the same `id` is not recorded",
        facts=("name", "id"),
        payload=("value",),
        is_act=True,
    ),
    EventType(
        RUN_IMPORTED,
        "the events before this one were imported: a 0.0.x release had kept them in tables, where the run had this "
        "`id`, `status` and `updated_at`, or in a message. It starts nothing; if the run had not ended, its hold is a "
        "separate event. The origin of such a run is {kind: import, events: the number of imported events}",
        facts=("from", "id", "status", "updated_at"),
    ),
    EventType(
        DEAD_LETTER_REMOVED,
        "the dead letter of the failure at `failed_seq` was removed because of its age",
        facts=("failed_seq",),
        is_act=True,
    ),
    EventType(
        EVENT_REDACTED,
        "the payload of event `seq`, or the part of it at `path`, was permanently removed; `login` is the database "
        "login that did it",
        facts=("seq", "path", "login"),
        payload=("reason",),
        is_act=True,
    ),
    EventType(
        EVENT_RETAINED, "the part of the payload of event `seq` that was kept", facts=("seq",), payload=("payload",)
    ),
)

CATALOGUE: dict[str, EventType] = {each.name: each for each in _TYPES}
