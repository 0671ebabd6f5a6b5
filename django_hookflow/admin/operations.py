"""What can be done to a run, one class each: when it makes sense, what will happen, and what it asks for.

The database has the last word on whether an operation makes sense; what stands here is said in advance, so that a page
offers what will be accepted and gives the reason for what it does not offer.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Func, Q

from django_hookflow import registry
from django_hookflow.admin.display import format_duration
from django_hookflow.admin.operating_forms import ReasonForm, ResolveForm, RewindForm
from django_hookflow.exceptions import UnknownWorkflow
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.runtime import operating

if TYPE_CHECKING:
    import datetime

    from django_hookflow.models import WorkflowEvent

#: The time by which runs wake: the database's.
NOW = Func(function="hookflow_now", output_field=DateTimeField())
#: How a run stands, as the end of a sentence.
STANDS = {
    "pending": "it waits for its first turn",
    "running": "it is running",
    "completed": "it has completed",
    "failed": "it has failed",
    "cancelled": "it has been cancelled",
    "paused": "it is paused",
    "in_doubt": "it is in doubt about a step",
    "diverged": "it no longer fits its code",
}


class Situation:
    """A run and what else decides about operations, each looked up once and only if it matters."""

    def __init__(self, run: WorkflowRun) -> None:
        self.run = run
        #: The run that goes on, once an operation has said that it is another one.
        self.other_run_id = ""

    @property
    def stands(self) -> str:
        return STANDS.get(self.run.status, f"it is {self.run.status}")

    @cached_property
    def wakes_in(self) -> datetime.timedelta | None:
        """How long the run will wait for a time; None when it waits for none."""
        if self.run.status not in ("pending", "running"):
            return None
        waiting = OutboxMessage.objects.filter(run_uid=self.run.pk, kind="turn", turn_seq=None)
        wait = waiting.values_list(ExpressionWrapper(F("due_at") - NOW, DurationField()), flat=True).first()
        return wait if wait is not None and wait.total_seconds() > 0 else None

    @cached_property
    def failure(self) -> DeadLetterEntry | None:
        """The latest dead letter of a run that stands failed."""
        if self.run.status != "failed":
            return None
        return DeadLetterEntry.objects.filter(run_uid=self.run.pk).defer("payload").order_by("-seq").first()

    @cached_property
    def doubt(self) -> WorkflowEvent | None:
        if self.run.status != "in_doubt":
            return None
        return self.run.events.filter(type="step.doubted").order_by("-seq").first()

    @cached_property
    def steps(self) -> list[str]:
        """The recorded steps in the order in which they were first recorded, without those that were superseded."""
        recorded: dict[str, None] = {}
        events = self.run.events.filter(Q(type__startswith="step.") | Q(type="sleep.started")).order_by("seq")
        for step_id, type_ in events.values_list("step_id", "type").iterator():
            if type_ == "step.superseded":
                recorded.pop(step_id or "", None)
            else:
                recorded.setdefault(step_id or "")
        return list(recorded)

    @property
    def has_steps(self) -> bool:
        """Asked for each view of a run, whose history may be long: mostly the first row found is the answer."""
        return self.run.step_executions.exists() or bool(self.steps)


class Operation:
    """One thing that can be done to a run. Subclasses say all of the following."""

    name: str
    label: str
    #: The event by which the log tells that it has been done.
    event: str
    form: type[ReasonForm] = ReasonForm
    done: str
    #: What will happen, in a sentence or two that fit any number of runs.
    tell_of_many = ""

    def why_not(self, situation: Situation) -> str:
        """Why it makes no sense as the run stands; "" when it does."""
        raise NotImplementedError

    def is_done(self, situation: Situation) -> bool:
        """Whether the run stands as if it had been done, so that it need not be refused as one of many."""
        return False

    def tell(self, situation: Situation) -> str:
        """What will happen, in a sentence or two."""
        raise NotImplementedError

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        """Does it; False when it was so already. Raises HookFlowException when the database refuses."""
        raise NotImplementedError

    def hear_again(self, situation: Situation, spoken: WorkflowEvent, reason: str, actor: str) -> None:
        """Takes notice of a request for what was done by the event ``spoken`` a moment ago, and is not done again."""


class Plain(Operation):
    """An operation that asks for a reason only and makes sense in some statuses."""

    statuses: tuple[str, ...]
    done_statuses: tuple[str, ...]
    otherwise: str

    def why_not(self, situation: Situation) -> str:
        return "" if situation.run.status in self.statuses else f"{self.otherwise}: {situation.stands}."

    def is_done(self, situation: Situation) -> bool:
        return situation.run.status in self.done_statuses

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        return operating.operate(situation.run, self.name, actor=actor, reason=reason)


class Cancel(Plain):
    name, label, event = "cancel", "Cancel", "run.cancelled"
    statuses = ("pending", "running", "paused", "in_doubt", "diverged")
    done_statuses = ("cancelled",)
    otherwise = "There is nothing to cancel"
    done = "The run has been cancelled."
    tell_of_many = (
        "Each run ends before its next step. Steps under way are finished and recorded. Nothing that has been done is "
        "undone, and a cancelled run cannot be continued. Runs that have ended stay as they are."
    )

    def tell(self, situation: Situation) -> str:
        return (
            "The run ends before its next step; if it sleeps or waits, it ends at once. A step under way is finished "
            "and recorded. Nothing that has been done is undone, and a cancelled run cannot be continued."
        )


class Pause(Plain):
    name, label, event = "pause", "Pause", "run.paused"
    statuses = ("pending", "running")
    done_statuses = ("paused",)
    otherwise = "Only a run that goes on by itself can be paused"
    done = "The run has been paused."
    tell_of_many = "Each run stops before its next step and waits until somebody resumes it. Time goes on meanwhile."

    def tell(self, situation: Situation) -> str:
        return (
            "The run stops before its next step and waits until somebody resumes it. A step under way is finished and "
            "recorded. Time goes on: a sleep that would end meanwhile has ended."
        )


class Resume(Plain):
    name, label, event = "resume", "Resume", "run.resumed"
    statuses = ("paused", "diverged")
    done_statuses = ("pending", "running")
    otherwise = "Only a paused run, or one that no longer fits its code, can be resumed"
    done = "The run goes on."
    tell_of_many = (
        "Each paused run goes on where it was stopped. Each that no longer fitted its code is tried again with the code "
        "as it is now."
    )

    def tell(self, situation: Situation) -> str:
        if situation.run.status == "diverged":
            return "The run is tried again with the code as it is now. If that still does not fit, nothing is lost."
        return "The run goes on where it was stopped. What is left of a sleep, it still sleeps."


class Wake(Operation):
    name, label, event = "wake", "Wake now", "run.woken"
    done = "The run has been woken."
    tell_of_many = "Each run that sleeps, or waits for its next attempt, goes on now."

    def is_done(self, situation: Situation) -> bool:
        return situation.run.status in ("pending", "running") and situation.wakes_in is None

    def why_not(self, situation: Situation) -> str:
        if situation.wakes_in is not None:
            return ""
        if situation.run.status in ("pending", "running"):
            return "Only a run that sleeps or waits for its next attempt can be woken: this one waits for no time."
        return f"Only a run that sleeps or waits for its next attempt can be woken: {situation.stands}."

    def tell(self, situation: Situation) -> str:
        early = format_duration(situation.wakes_in)
        return f"The run goes on now and not in {early}: the sleep, or the wait for the next attempt, has then ended."

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        return situation.run.wake(actor=actor, reason=reason)


class Replay(Operation):
    name, label, event = "replay", "Replay", "run.replayed"
    done = "The run goes on."
    from_start = False
    tell_of_many = (
        "Each failed run goes on where it failed. Steps that have completed are not run again; attempts are counted from "
        "one again."
    )

    def is_done(self, situation: Situation) -> bool:
        if situation.run.status not in ("pending", "running"):
            return False
        letters = DeadLetterEntry.objects.filter(run_uid=situation.run.pk).order_by("-seq")
        return letters.values_list("is_replayed", flat=True).first() is True

    def why_not(self, situation: Situation) -> str:
        if situation.run.status != "failed":
            return f"Only a failed run can be replayed: {situation.stands}."
        if situation.failure is None:
            return "The dead letter of its failure has been removed. Rewind the run to a step instead."
        if situation.failure.is_replayed:
            return "It has been replayed already, from the beginning, as a new run."
        return ""

    def tell(self, situation: Situation) -> str:
        step_id = situation.failure.step_id if situation.failure else ""
        where = f"at step {step_id}, which it failed in" if step_id else "where it failed, outside any step"
        return f"The run goes on {where}. Steps that have completed are not run again; attempts are counted from one again."

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        assert situation.failure is not None
        was_replayed = situation.failure.is_replayed
        run_id = operating.replay(situation.failure, from_start=self.from_start, actor=actor, reason=reason)
        situation.other_run_id = run_id if self.from_start else ""
        situation.run.refresh_from_db()
        return not was_replayed

    def hear_again(self, situation: Situation, spoken: WorkflowEvent, reason: str, actor: str) -> None:
        """The log keeps every request for a replay."""
        failed_seq = int((spoken.payload or {}).get("failed_seq", 0))
        entry = DeadLetterEntry.objects.filter(run_uid=situation.run.pk, seq=failed_seq).first()
        if entry is not None:
            operating.replay(entry, from_start=self.from_start, actor=actor, reason=reason)


class Restart(Replay):
    name, label, event = "restart", "Start afresh", "run.restarted"
    done = "A new run does it all from the beginning."
    from_start = True

    def why_not(self, situation: Situation) -> str:
        if reason := super().why_not(situation):
            return reason
        try:
            registry.get_workflow(situation.run.workflow_id)
        except UnknownWorkflow:
            return "This server has no code for its workflow, so no new run of it can be started here."
        return ""

    def tell(self, situation: Situation) -> str:
        return (
            "A new run is started with the same data and does everything from the beginning, steps that have completed "
            "here included. This run stays as it is, and its dead letter counts as replayed."
        )


class Rewind(Operation):
    name, label, event = "rewind", "Rewind", "run.rewound"
    form = RewindForm
    done = "The run has been rewound and goes on."

    def why_not(self, situation: Situation) -> str:
        if situation.run.status == "cancelled":
            return f"It cannot be rewound: {situation.stands}."
        return "" if situation.has_steps else "It has no recorded step to rewind to."

    def tell(self, situation: Situation) -> str:
        return (
            "The step you choose and all steps recorded after it run again, whatever they did before. Their events stay "
            "in the log and count no longer. If a worker is at work on the run, what it does from then on is refused."
        )

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        return situation.run.rewind(to_step=data["step"], actor=actor, reason=reason)


class Resolve(Operation):
    name, label, event = "resolve", "Resolve the doubt", "step.resolved"
    form = ResolveForm
    done = "The doubt is resolved and the run goes on."

    def why_not(self, situation: Situation) -> str:
        if situation.run.status != "in_doubt":
            return f"There is no doubt to resolve: {situation.stands}."
        return "" if situation.doubt else "The log does not tell which step it is in doubt about."

    def tell(self, situation: Situation) -> str:
        step_id = situation.doubt.step_id if situation.doubt else ""
        return (
            f"Step {step_id} was begun, and nobody knows what came of it. Look it up where it took effect, and say what "
            f"the step returned. It is recorded as the step's result, and the run goes on with it."
        )

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        step_id = situation.doubt.step_id if situation.doubt else None
        result: Any = data["result"]
        return situation.run.resolve(step_id or "", result=result, actor=actor, reason=reason)


class Rebuild(Operation):
    name, label, event = "rebuild", "Rebuild", "run.rebuilt"
    done = "What the database shows of the run is as the log says."

    def why_not(self, situation: Situation) -> str:
        return ""

    def tell(self, situation: Situation) -> str:
        return (
            "The rows that show this run, its steps and its dead letters are folded from the log again, and those that "
            "differ are put right. The log and the course of the run are not touched."
        )

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        operating.rebuild(situation.run, actor=actor, reason=reason)
        return True


OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Resolve(),
        Replay(),
        Restart(),
        Resume(),
        Wake(),
        Pause(),
        Rewind(),
        Cancel(),
        Rebuild(),
    )
}
