"""Read models. The log (:class:`WorkflowEvent`) is the truth; the three projections are folded from it by the database.

Nothing here is written through the ORM, which refuses: events are appended by ``django_hookflow.events``, projections
follow in the same statement, and the guards in the database refuse changes to an event whoever asks.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import UUID

from django.db import models, router
from django.db.models import F
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor

from django_hookflow.exceptions import OperationRefused
from django_hookflow.guards import CHECKPOINT_GUARDS, EVENT_GUARDS
from django_hookflow.read_only import ReadOnlyManager, ReadOnlyModel, ReadOnlyQuerySet
from django_hookflow.subjects import find, reference_to

if TYPE_CHECKING:
    from django_hookflow.projections.as_of import RunAsOf, RunsAsOf
    from django_hookflow.runtime.operating import Replayed

__all__ = ["DeadLetterEntry", "StepExecution", "WorkflowEvent", "WorkflowRun", "WorkflowRunStatus"]


class VerbatimJSONField(models.JSONField):
    """JSON kept as ``json``, to the letter: ``jsonb`` would reorder keys and rewrite numbers, and the text is hashed."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return value  # which psycopg has decoded; only of jsonb does Django have it leave that alone


class TransactionIdField(models.BigIntegerField):  # type: ignore[type-arg] # at run time it takes none
    """The id of a transaction (``xid8``), as a number."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> str | None:
        return None if value is None else str(value)  # PostgreSQL has no cast from integers


class _ParentDescriptor(ForwardManyToOneDescriptor):  # type: ignore[type-arg] # at run time it takes none
    def get_object(self, instance: models.Model) -> Any:
        try:
            return super().get_object(instance)
        except WorkflowRun.DoesNotExist:  # it is archived
            return None


class ParentField(models.ForeignKey["WorkflowRun | None", "WorkflowRun | None"]):
    """The run that started a run. Its row goes when it is archived; then there is none to be had."""

    forward_related_accessor_class = _ParentDescriptor


class WorkflowRunStatus(models.TextChoices):
    """Where a run stands. The first four are the first release's; the others are visible ways of waiting or ending."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    PAUSED = "paused", "Paused"
    IN_DOUBT = "in_doubt", "In doubt"
    DIVERGED = "diverged", "Diverged"


class RunProgress(NamedTuple):
    """The progress of a run: done, total if known, the note of the workflow, and since when."""

    done: float
    total: float | None
    note: str
    at: datetime.datetime


class WorkflowRunQuerySet(ReadOnlyQuerySet["WorkflowRun"]):
    def for_subject(self, thing: models.Model) -> WorkflowRunQuerySet:
        """The runs that were triggered with this saved instance as their subject, or as one of them."""
        return self.filter(subjects__contains=[reference_to(thing)])

    def signal(self, name: str, value: Any = None, *, id: str | None = None, actor: str | None = None) -> int:
        """Sends a signal to each of these runs that has not ended; returns how many received it."""
        number = 0
        for run in self.filter(completed_at=None).iterator():
            with suppress(OperationRefused):  # it has ended meanwhile
                number += run.signal(name, value, id=id, actor=actor)
        return number


_RunManager = models.Manager.from_queryset(WorkflowRunQuerySet)


class WorkflowRunManager(_RunManager["WorkflowRun"]):
    """Manager of runs, with their present and past state."""

    def as_of(self, moment: datetime.datetime) -> RunsAsOf:
        """Returns all runs as they were at ``moment``; they can be filtered, counted, sliced and iterated, but not saved."""
        from django_hookflow.projections.as_of import RunsAsOf

        return RunsAsOf(moment)


class WorkflowRun(ReadOnlyModel):
    """One start of a workflow: its current state, derived from its events.

    ``parent`` is the run that started it in a step (``parent_step``), None if none did or it is archived, and ``children`` are
    the runs that it started so.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    run_id = models.CharField(max_length=255, unique=True)
    workflow_id = models.CharField(max_length=255)
    status = models.CharField(max_length=20, choices=WorkflowRunStatus.choices)
    data = models.JSONField()
    result = models.JSONField(null=True)
    error_type = models.TextField(blank=True)
    error_message = models.TextField(blank=True)
    label = models.CharField(max_length=255, blank=True)
    subjects = models.JSONField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True)
    parent = ParentField(
        "self",
        on_delete=models.DO_NOTHING,
        db_column="parent_uid",
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="children",
    )
    parent_step = models.CharField(max_length=255, blank=True)

    objects = WorkflowRunManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "workflow run"
        permissions = [
            ("operate_workflowrun", "Can operate workflow runs"),
            ("view_payload_workflowrun", "Can see the payloads of workflow runs"),
            ("trigger_workflowrun", "Can trigger workflows"),
        ]
        indexes = [
            models.Index(models.F("created_at").desc(), name="django_hookflow_run_newest"),
            models.Index(F("status"), F("created_at").desc(), name="django_hookflow_run_by_status"),
            models.Index(F("workflow_id"), F("status"), F("created_at").desc(), name="django_hookflow_run_by_flow"),
            models.Index(
                F("parent"),
                F("parent_step"),
                name="django_hookflow_run_by_parent",
                condition=models.Q(parent__isnull=False),
            ),
            models.Index(fields=["run_id"], opclasses=["varchar_pattern_ops"], name="django_hookflow_run_id_begins"),
            models.Index(
                fields=["label"],
                opclasses=["varchar_pattern_ops"],
                condition=~models.Q(label=""),
                name="django_hookflow_run_by_label",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} ({self.workflow_id}, {self.status})"

    @property
    def run_uid(self) -> UUID:
        """The ID of its events in the log."""
        return self.id

    @property
    def wake_at(self) -> datetime.datetime | None:
        """When the run continues by itself: the earliest time at which one of its waits is due, ignoring its deadline.

        None also while it is held. Each look is a query.
        """
        return next_wake(self.waits.all())

    @property
    def successor(self) -> WorkflowRun | None:
        """The run that ``ctx.continue_as_new`` started to replace this one. Each access takes one or two queries."""
        ended = self.events.filter(type="run.completed").last()
        run_id = ended.facts.get("continued_by") if ended else None
        return WorkflowRun.objects.filter(run_id=run_id).first() if run_id else None

    @property
    def predecessor(self) -> WorkflowRun | None:
        """The run that this one replaces. Both are None for archived runs."""
        begun = self.events.filter(seq=1).first()
        origin = (begun.facts.get("origin") if begun else None) or {}
        return (
            WorkflowRun.objects.filter(run_id=origin["run_id"]).first() if origin.get("kind") == "continued" else None
        )

    @property
    def subject(self) -> Any:
        """The subject of the run: None, an instance, or a list of instances.

        What has been deleted since is None, or missing in the list. Each look is a query for each thing.
        """
        references = self.subjects or []
        found = [find(reference) for reference in references]
        if len(references) > 1:
            return [thing for thing in found if thing is not None]
        return found[0] if found else None

    @property
    def progress(self) -> RunProgress | None:
        """The latest progress reported with ``ctx.progress``, or None. Each access takes a query."""
        said = self.events.filter(type="run.progressed").order_by("-seq").first()
        if said is None:
            return None
        return RunProgress(
            said.facts["done"], said.facts.get("total"), (said.payload or {}).get("note", ""), said.recorded_at
        )

    # Operating. Each appends an event with who and why, returns whether it changed anything (False: it was so already),
    # refreshes this object, and raises OperationRefused when it makes no sense as the run stands.

    def cancel(self, *, reason: str = "", actor: str | None = None) -> bool:
        """Cancels the run before its next step; a sleeping run ends at once. A step in progress is finished and recorded."""
        return self._operate("cancel", reason, actor)

    def pause(self, *, reason: str = "", actor: str | None = None) -> bool:
        """Pauses the run before its next step, until :meth:`resume`. Sleeps keep running and can end during the pause."""
        return self._operate("pause", reason, actor)

    def resume(self, *, reason: str = "", actor: str | None = None) -> bool:
        """Continues a paused run, or retries a diverged run with the current code."""
        return self._operate("resume", reason, actor)

    def wake(self, *, reason: str = "", actor: str | None = None) -> bool:
        """Ends the sleep or retry delay of a run early, so that it continues now."""
        return self._operate("wake", reason, actor)

    def signal(self, name: str, value: Any = None, *, id: str | None = None, actor: str | None = None) -> bool:
        """Sends a signal to the run: a step that waits for ``name``, now or later, continues with ``value``.

        ``value`` is what a step may return. A signal with an ``id`` is taken once however often it is sent: False then. It
        has been sent if and only if the surrounding transaction commits. Raises OperationRefused when the run has ended.
        """
        from django_hookflow.runtime import signalling

        return signalling.send(self.id, self.workflow_id, self.run_id, name, value, id=id, actor=actor)

    def rewind(self, *, to_step: str, reason: str = "", actor: str | None = None) -> bool:
        """Runs ``to_step`` and all steps recorded after it again. Their old events stay in the log as superseded."""
        from django_hookflow.runtime import operating

        return operating.rewind(self, to_step, actor=actor, reason=reason)

    def resolve(self, step_id: str, *, result: Any, reason: str = "", actor: str | None = None) -> bool:
        """Records the outcome of a step that is in doubt; the run continues with ``result``."""
        from django_hookflow.runtime import operating

        return operating.resolve(self, step_id, result, actor=actor, reason=reason)

    def note(self, text: str, *, actor: str | None = None) -> None:
        """Adds a note with its author and time to the run's log. Nothing else changes."""
        from django_hookflow.runtime import operating

        operating.note(self, text, actor=actor)

    def redact(self, path: str | Sequence[str] | None = None, *, reason: str, actor: str | None = None) -> int:
        """Permanently removes ``path``, such as ``"data.customer.email"``, from the run's payloads; returns how many had it.

        Without a path the payloads go as a whole. A path is keys with dots between, or a list of keys; it begins in a
        payload, where ``data`` is what the run was triggered with and ``result`` what a step or the run returned. Hashes
        stay, so the chain still verifies; who and why is an event. Raises OperationRefused for a run that has not ended,
        and PermissionDenied when the database role may not redact.
        """
        from django_hookflow.runtime import redaction

        return redaction.redact(self, None, path, actor=actor, reason=reason)

    def as_of(self, moment: int | datetime.datetime) -> RunAsOf:
        """Returns the run as it was after its first ``moment`` events, or at a time, as a plain object.

        Raises NotTriggeredYet, ValueError and NothingToFold, see ``django_hookflow.projections.as_of``.
        """
        from django_hookflow.projections.as_of import run_as_of

        return run_as_of(self.run_uid, self.run_id, moment)

    def _operate(self, action: str, reason: str, actor: str | None) -> bool:
        from django_hookflow.runtime import operating  # which imports these models

        return operating.operate(self, action, actor=actor, reason=reason)


class Waiting(Protocol):
    """A wait as it is, or as of an event."""

    @property
    def kind(self) -> str: ...

    @property
    def due_at(self) -> datetime.datetime | None: ...


def next_wake(waits: Iterable[Waiting]) -> datetime.datetime | None:
    """When a run that waits so goes on by itself; None if it does not."""
    standing = list(waits)
    if any(wait.kind in ("hold", "divergence") for wait in standing):
        return None
    return min((wait.due_at for wait in standing if wait.due_at and wait.kind != "deadline"), default=None)


class StepExecution(ReadOnlyModel):
    """A completed step of a run; its ``id`` is the position of the event that completed it.

    A view over the log. ``took`` is how many seconds its last attempt worked.
    """

    id = models.BigIntegerField(primary_key=True, editable=False)
    workflow_run = models.ForeignKey(
        WorkflowRun, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="step_executions"
    )
    step_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=20)
    result = models.JSONField(null=True)
    attempts = models.IntegerField()
    took = models.FloatField(null=True)
    executed_at = models.DateTimeField()
    seq = models.IntegerField()

    class Meta:
        ordering = ["seq"]
        verbose_name = "step execution"

    def __str__(self) -> str:
        return f"{self.step_id} of {self.workflow_run_id}"


class Wait(ReadOnlyModel):
    """Something a run waits for: begun and not settled. ``step_id`` is "" for what the run itself waits for.

    ``kind`` is one of ``django_hookflow.events.types``; ``due_at`` is when it ends by itself, None when only somebody or
    something settles it; ``since_seq`` is the event that began it, and ``id`` its position.
    """

    id = models.BigIntegerField(primary_key=True, editable=False)
    run = models.ForeignKey(
        WorkflowRun,
        on_delete=models.DO_NOTHING,
        db_column="run_uid",
        db_constraint=False,
        db_index=False,
        related_name="waits",
    )
    step_id = models.CharField(max_length=255, blank=True)
    kind = models.CharField(max_length=20)
    due_at = models.DateTimeField(null=True)
    key = models.TextField(null=True)
    scope = models.TextField(null=True)
    since_seq = models.IntegerField()

    class Meta:
        db_table = "django_hookflow_wait"
        ordering = ["run_id", "since_seq"]
        indexes = [models.Index(F("kind"), F("due_at"), name="django_hookflow_wait_by_kind")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.step_id or 'the run'}"


class DeadLetterQuerySet(ReadOnlyQuerySet["DeadLetterEntry"]):
    """Dead letters; ``replay()`` replays each of them."""

    def replay(self, *, reason: str = "", actor: str | None = None) -> list[Replayed]:
        """Replays each entry; yields a :class:`~django_hookflow.runtime.operating.Replayed` with its run or the reason it failed."""
        from django_hookflow.runtime import operating

        return operating.replay_all(self, actor=actor, reason=reason)


class DeadLetterEntry(ReadOnlyModel):
    """A failure of a run, with what is needed to inspect and replay it.

    ``payload`` is what the run was started with: ``{"workflow_id": str, "run_id": str, "data": object}``.
    """

    id = models.BigIntegerField(primary_key=True, editable=False)
    run_uid = models.UUIDField()
    seq = models.IntegerField()
    workflow_id = models.CharField(max_length=255)
    run_id = models.CharField(max_length=255)
    step_id = models.CharField(max_length=255, blank=True)
    payload = models.JSONField()
    error_type = models.TextField(blank=True)
    error_message = models.TextField()
    error_traceback = models.TextField(blank=True)
    fingerprint = models.CharField(max_length=16, blank=True)
    attempt_count = models.IntegerField()
    is_replayed = models.BooleanField()
    replayed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "dead letter entry"
        verbose_name_plural = "dead letter entries"
        constraints = [
            models.UniqueConstraint(fields=["run_uid", "seq"], name="django_hookflow_deadletter_once_per_failure"),
        ]
        indexes = [
            models.Index(F("created_at").desc(), name="django_hookflow_dead_newest"),
            models.Index(F("run_id"), name="django_hookflow_dead_by_run"),
            models.Index(F("workflow_id"), F("created_at").desc(), name="django_hookflow_dead_by_flow"),
            models.Index(F("fingerprint"), F("created_at").desc(), name="django_hookflow_dead_by_cause"),
            models.Index(
                F("created_at").desc(), name="django_hookflow_dead_open", condition=models.Q(is_replayed=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.workflow_id} / {self.run_id} at #{self.seq}"

    def replay(self, *, from_start: bool = False, reason: str = "", actor: str | None = None) -> str:
        """Continues the run at the failed step and keeps its completed steps; returns the ID of the run that continues.

        With ``from_start`` a new run does everything again. Asked for twice, also by two people at once, it happens once.
        Raises OperationRefused when the run no longer stands at this failure, UnknownWorkflow when there is no code for it.
        """
        from django_hookflow.runtime import operating  # which imports these models

        return operating.replay(self, from_start=from_start, actor=actor, reason=reason)

    @property
    def completed_steps(self) -> dict[str, Any]:
        """The results of the steps completed before the failure, by step ID."""
        from django_hookflow.projections.as_of import steps_as_of

        return {step.step_id: step.result for step in steps_as_of(self.run_uid, self.seq)}


class WorkflowEventManager(ReadOnlyManager["WorkflowEvent"]):
    """Events with the ``run_id`` of their run, from its head: the log outlives its projections."""

    def get_queryset(self) -> ReadOnlyQuerySet[WorkflowEvent]:
        return super().get_queryset().annotate(run_id=F("head__run_id"))  # type: ignore[no-redef]


class WorkflowEvent(ReadOnlyModel):
    """One immutable row of the log. The database refuses to change or delete it.

    ``facts`` are what the engine says, ``payload`` what the user said: see ``django_hookflow.events.types``.
    """

    run_id: str  # annotated by the manager

    position = models.BigIntegerField(primary_key=True, editable=False)
    workflow_run = models.ForeignKey(
        WorkflowRun,
        on_delete=models.DO_NOTHING,
        db_column="run_uid",
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="events",
    )
    head = models.ForeignObject(
        "Head",
        on_delete=models.DO_NOTHING,
        from_fields=("workflow_run",),
        to_fields=("run_uid",),
        null=True,
        editable=False,
        serialize=False,
        related_name="+",
    )
    seq = models.IntegerField()
    type = models.TextField()
    step_id = models.TextField(null=True)
    actor = models.TextField(null=True)
    facts = VerbatimJSONField()
    payload = VerbatimJSONField(null=True)
    recorded_at = models.DateTimeField()
    version = models.SmallIntegerField()
    salt = models.BinaryField(null=True)
    payload_digest = models.BinaryField(null=True)
    hash = models.BinaryField()
    xid = TransactionIdField(editable=False)

    objects = WorkflowEventManager()

    class Meta:
        db_table = "django_hookflow_event"
        ordering = ["workflow_run_id", "seq"]  # the column: by the relation would join the projection
        verbose_name = "workflow event"
        triggers = EVENT_GUARDS

    def __str__(self) -> str:
        return f"#{self.seq} {self.type}"

    @property
    def is_redacted(self) -> bool:
        """Whether the payload has been removed; what was kept of it, if anything, is in a later ``event.retained``."""
        return self.payload_digest is not None

    def redact(self, *, reason: str, actor: str | None = None) -> bool:
        """Permanently removes the payload; returns False if there was none. Has the conditions of :meth:`WorkflowRun.redact`."""
        from django_hookflow.runtime import redaction

        using = router.db_for_write(WorkflowEvent)
        run = WorkflowRun.objects.using(using).get(events=self)
        done = redaction.redact(run, self.seq, None, actor=actor, reason=reason)
        self.refresh_from_db(using=using, fields=["payload", "salt", "payload_digest"])
        return done > 0


class Head(ReadOnlyModel):
    """The length of a run's log, and the row locked to append to it. An archived run keeps its head."""

    run_uid = models.UUIDField(primary_key=True, editable=False)
    run_id = models.TextField(unique=True)
    workflow_id = models.TextField()
    last_seq = models.IntegerField()
    fence_seq = models.IntegerField()
    last_at = models.DateTimeField()
    head_hash = models.BinaryField()
    archived_at = models.DateTimeField(null=True)
    tombstone = VerbatimJSONField(null=True)
    tombstone_hash = models.BinaryField(null=True)
    unique_key = models.TextField(null=True)

    class Meta:
        db_table = "django_hookflow_head"
        constraints = [
            models.UniqueConstraint(
                fields=["workflow_id", "unique_key"],
                condition=models.Q(unique_key__isnull=False),
                name="django_hookflow_head_unique_key",
            )
        ]


class Checkpoint(ReadOnlyModel):
    """A checkpoint that was made: what was signed, and the digest of the token, which the next one names."""

    id = models.BigAutoField(primary_key=True)
    made_at = models.DateTimeField()
    runs = models.BigIntegerField()
    events = models.BigIntegerField()
    root = models.BinaryField()
    token_digest = models.BinaryField()

    class Meta:
        db_table = "django_hookflow_checkpoint"
        triggers = CHECKPOINT_GUARDS


class OutboxMessage(ReadOnlyModel):
    """The message for the next turn of a run; ``due_at`` is None if the turn may start at once."""

    id = models.BigAutoField(primary_key=True)
    run_uid = models.UUIDField()
    seq = models.IntegerField()
    kind = models.CharField(max_length=20, default="turn")
    due_at = models.DateTimeField(null=True)
    announced_at = models.DateTimeField()
    send_at = models.DateTimeField()
    attempts = models.IntegerField(default=0)
    turn_seq = models.IntegerField(null=True)

    class Meta:
        db_table = "django_hookflow_outbox"
        constraints = [
            models.UniqueConstraint(fields=["run_uid", "kind"], name="django_hookflow_outbox_one_turn_a_run"),
        ]
        indexes = [
            models.Index(F("send_at"), name="django_hookflow_outbox_next"),
            models.Index(F("send_at"), condition=models.Q(seq=1), name="django_hookflow_outbox_new"),
        ]


class Lease(ReadOnlyModel):
    """The worker that may currently run a turn of a run."""

    run_uid = models.UUIDField(primary_key=True, editable=False)
    token = models.BigIntegerField()
    owner = models.TextField()
    renewed_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "django_hookflow_lease"


class Subscriber(ReadOnlyModel):
    """The position of a subscriber in the log, see ``django_hookflow.feed``."""

    name = models.CharField(max_length=200, primary_key=True)
    checkpoint = models.JSONField()
    failures = models.IntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "django_hookflow_subscriber"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
