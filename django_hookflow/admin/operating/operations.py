"""What can be done to a run, one class each: what will happen, what it asks for, and how it is carried out.

Whether it makes sense as the run stands is decided by the database (``hookflow_may``), for this page and for the function
that does it alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_hookflow import registry
from django_hookflow.admin.operating.forms import ReasonForm, ResolveForm, RewindForm
from django_hookflow.durations import format_duration
from django_hookflow.exceptions import UnknownWorkflow
from django_hookflow.models import DeadLetterEntry
from django_hookflow.runtime import operating

if TYPE_CHECKING:
    from django_hookflow.admin.operating.situation import Situation
    from django_hookflow.models import WorkflowEvent


class Operation:
    """One thing that can be done to a run: its method of the same name, after a reason has been given."""

    name: str
    label: str
    #: What the button says that does it.
    verb = ""
    #: The event that records it.
    event: str
    form: type[ReasonForm] = ReasonForm
    done: str
    #: What runs are once it has been done to them, as one of many.
    past = ""
    #: When it makes sense; the database adds how the run stands.
    condition: str
    what_happens = ""
    #: The same in words that fit any number of runs.
    what_happens_to_many = ""

    def is_done(self, situation: Situation) -> bool:
        """Whether the run stands as if it had been done, so that it need not be refused as one of many."""
        asked = situation.permitted.get(self.name)
        return asked is not None and asked.verdict == "done"

    def why_not(self, situation: Situation) -> str:
        """Why it makes no sense as the run stands; "" when it does."""
        asked = situation.permitted.get(self.name)
        if asked is not None and asked.verdict == "possible":
            return ""
        return f"{self.condition}: {asked.reason if asked else 'it has no log'}."

    def describe(self, situation: Situation) -> str:
        """What will happen, in a sentence or two."""
        return self.what_happens

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        """Does it; False when it was so already. Raises HookFlowException when the database refuses."""
        return operating.operate(situation.run, self.name, actor=actor, reason=reason)

    def repeat(self, situation: Situation, done: WorkflowEvent, reason: str, actor: str) -> None:
        """Takes notice of a request for what the event ``done`` has done a moment ago, and is not done again."""


class Cancel(Operation):
    name, label, event = "cancel", "Cancel", "run.cancelled"
    past = "cancelled"
    verb = "Cancel the run"
    condition = "There is nothing to cancel"
    done = "The run has been cancelled."
    what_happens = (
        "The run ends before its next step; if it is sleeping or waiting, it ends at once. A step that is running finishes "
        "and is recorded. Nothing that has been done is undone, and a cancelled run cannot be resumed."
    )
    what_happens_to_many = (
        "Each run ends before its next step. Steps under way are finished and recorded. Nothing that has been done is "
        "undone, and a cancelled run cannot be continued. Runs that have ended stay as they are."
    )


class Pause(Operation):
    name, label, event = "pause", "Pause", "run.paused"
    past = "paused"
    verb = "Pause the run"
    condition = "Only an active run can be paused"
    done = "The run has been paused."
    what_happens = (
        "The run stops before its next step and waits until somebody resumes it. A step that is running finishes and is "
        "recorded. Sleeps keep running: one that ends in the meantime is over when the run resumes."
    )
    what_happens_to_many = (
        "Each run stops before its next step and waits until somebody resumes it. Time goes on meanwhile."
    )


class Resume(Operation):
    name, label, event = "resume", "Resume", "run.resumed"
    past = "resumed"
    verb = "Resume the run"
    condition = "Only a paused run, or one that no longer matches its code, can be resumed"
    done = "The run continues."
    what_happens_to_many = (
        "Each paused run continues where it stopped. Each run that no longer matched its code is tried again with the "
        "current code."
    )

    def describe(self, situation: Situation) -> str:
        if situation.run.status == "diverged":
            return "The run is tried again with the current code. If it still does not match, nothing is lost."
        return "The run continues where it was stopped. If a sleep is not over, it sleeps for the rest of it."


class Wake(Operation):
    name, label, event = "wake", "Wake now", "run.woken"
    past = "woken"
    verb = "Wake the run now"
    condition = "Only a run that is sleeping or waiting to retry can be woken"
    done = "The run has been woken."
    what_happens_to_many = "Each run that is sleeping or waiting to retry continues now."

    def describe(self, situation: Situation) -> str:
        early = format_duration(situation.wakes_in)
        return f"The run continues now instead of in {early}: its sleep, or its wait for the next attempt, ends early."


class Replay(Operation):
    name, label, event = "replay", "Replay", "run.replayed"
    past = "replayed"
    verb = "Replay the run"
    condition = "Only a failed run with an open dead letter can be replayed"
    done = "The run continues."
    from_start = False
    what_happens_to_many = "Each failed run continues where it failed. Completed steps are not run again, and attempts count from one again."

    def why_not(self, situation: Situation) -> str:
        if reason := super().why_not(situation):
            return reason
        try:
            registry.get_workflow(situation.run.workflow_id)  # which this process knows, and the database does not
        except UnknownWorkflow:
            return "This server has no code for its workflow, so it cannot be replayed here."
        return ""

    def describe(self, situation: Situation) -> str:
        step_id = situation.failure.step_id if situation.failure else ""
        where = f"at step {step_id}, where it failed" if step_id else "where it failed, outside any step"
        return f"The run continues {where}. Completed steps are not run again, and attempts count from one again."

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        assert situation.failure is not None
        was_replayed = situation.failure.is_replayed
        run_id = operating.replay(situation.failure, from_start=self.from_start, actor=actor, reason=reason)
        situation.other_run_id = run_id if self.from_start else ""
        situation.run.refresh_from_db()
        return not was_replayed

    def repeat(self, situation: Situation, done: WorkflowEvent, reason: str, actor: str) -> None:
        """The log keeps every request for a replay."""
        entry = DeadLetterEntry.objects.filter(run_uid=situation.run.pk, seq=done.facts.get("failed_seq")).first()
        if entry is not None:
            operating.replay(entry, from_start=self.from_start, actor=actor, reason=reason)


class Restart(Replay):
    name, label, event = "restart", "Restart", "run.restarted"
    verb = "Restart from the beginning"
    done = "A new run does everything from the beginning."
    from_start = True
    what_happens = (
        "A new run is started with the same data and does everything from the beginning, including the steps that have "
        "completed here. This run stays as it is, and its dead letter counts as replayed."
    )

    def describe(self, situation: Situation) -> str:
        return self.what_happens


class Rewind(Operation):
    name, label, event = "rewind", "Rewind", "run.rewound"
    verb = "Rewind the run"
    form = RewindForm
    condition = "It cannot be rewound"
    done = "The run has been rewound and continues."
    what_happens = (
        "The step you choose and all steps recorded after it run again, whatever they did before. Their events stay in "
        "the log but no longer count. If a worker is running it, nothing it does from then on is recorded."
    )

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        return situation.run.rewind(to_step=data["step"], actor=actor, reason=reason)


class Resolve(Operation):
    name, label, event = "resolve", "Resolve the doubt", "step.resolved"
    verb = "Record this result"
    form = ResolveForm
    condition = "There is no doubt to resolve"
    done = "The doubt is resolved and the run continues."

    def describe(self, situation: Situation) -> str:
        step_id = situation.doubt.step_id if situation.doubt else ""
        return (
            f"Step {step_id} was started, and nobody knows whether it finished. Find out where it took effect, and enter "
            f"what it returned. That is recorded as the step's result, and the run continues with it."
        )

    def carry_out(self, situation: Situation, reason: str, data: dict[str, Any], actor: str) -> bool:
        step_id = situation.doubt.step_id if situation.doubt else ""
        return situation.run.resolve(step_id, result=data["result"], actor=actor, reason=reason)


class Rebuild(Operation):
    name, label, event = "rebuild", "Rebuild", "run.rebuilt"
    verb = "Rebuild the run"
    condition = "It cannot be rebuilt"
    done = "What the database shows of the run now matches the log."
    what_happens = (
        "The rows for this run, its waits and its dead letters are computed from the log again, and any that differ are "
        "corrected. The log and the run's progress are not touched."
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
