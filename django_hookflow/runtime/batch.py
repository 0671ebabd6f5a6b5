"""Steps that run at once: those of a group (:mod:`.groups`), in one pass of their workflow.

Each is looked up first; only then, if one is new, does the rule apply that nothing new begins before all that is recorded has
been asked for. What waits begins to wait; what works is done by a crew of threads (:mod:`.crew`). The turn's own thread
records, all that has ended meanwhile in one call; an atomic step commits with its record, on the connection of its thread,
and the intent of a step is recorded there, too. When nothing more can be done in this turn and a step has not ended, the
turn ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from django.db import DatabaseError

from django_hookflow.events.types import CHILD, DOUBT
from django_hookflow.exceptions import StepCompleted
from django_hookflow.runtime.attempts import StepRequest
from django_hookflow.runtime.crew import Crew, Job
from django_hookflow.runtime.execution import Execution
from django_hookflow.runtime.step import Recorded, StepOutcome, Todo

#: Events that are appended in one call, at most.
EVENTS_A_CALL = 500


class Member:
    """One of the steps; ``outcome`` is what it has come to, None as long as it is still to be done."""

    def __init__(self, execution: Execution, asked: StepRequest, scope: str | None) -> None:
        self.asked = asked
        self.step: Todo | None = None
        self.outcome: StepOutcome | None = None
        step = execution.ask(asked.step_id, asked.kind, asked.options)
        if isinstance(step, Recorded):
            self.outcome = _recorded(step, asked)
            return
        step.scope = scope
        self.step = step
        if step.is_waiting:
            self.outcome = StepOutcome(is_waiting=True)

    @property
    def is_waiting_child(self) -> bool:
        return self.asked.kind == CHILD and self.outcome is not None and self.outcome.is_waiting

    @property
    def has_ended(self) -> bool:
        return self.outcome is not None and not self.outcome.is_waiting

    @property
    def has_failed(self) -> bool:
        return self.outcome is not None and self.outcome.error is not None


class Batch:
    """``scope`` names, in the log, what the steps that wait are waited for by; None: each for itself.

    ``max_children`` run at once: the next begin when these have ended.
    """

    def __init__(
        self, execution: Execution, scope: str | None, max_workers: int, max_children: int | None = None
    ) -> None:
        self._execution = execution
        self._scope = scope
        self._max_children = max_children
        self._max_workers = max_workers if execution.journal.has_threads() else 1
        self._members: list[Member] = []
        self._unrecorded: list[Member] = []

    def perform(self, asked: Sequence[StepRequest]) -> list[StepOutcome]:
        """What each of them came to, in their order. Raises StepCompleted when the turn ends before all have ended."""
        self._members = [Member(self._execution, each, self._scope) for each in asked]
        steps = [member.step for member in self._members if member.step is not None]
        if steps:
            self._execution.check_may_begin(next((step for step in steps if step.is_new), steps[0]))
            self._work(self._begin())
            self._execution.newest = max(self._execution.newest, self._execution.journal.seq)
        return [member.outcome for member in self._members if member.outcome is not None]

    def _begin(self) -> deque[Job]:
        """Has those wait that do; answers the work of the others."""
        jobs: deque[Job] = deque()
        children = sum(member.is_waiting_child for member in self._members)
        for member in self._members:
            if member.outcome is None and member.step is not None:
                if member.asked.kind == CHILD:
                    if children == self._max_children:
                        member.outcome = StepOutcome(is_waiting=True)
                        continue
                    children += 1
                work = member.asked.work_of(member.step)
                if isinstance(work, StepOutcome):
                    self._settle(member, work)
                else:
                    jobs.append(Job(member, member.step, work))
        return jobs

    def _work(self, jobs: deque[Job]) -> None:
        if jobs:
            self._record()
            with Crew(self._execution, jobs, min(self._max_workers, len(jobs))) as crew:
                while ended := crew.wait():
                    for job in ended:
                        assert job.outcome is not None
                        self._settle(job.owner, job.outcome)
                    if not crew.is_idle():
                        self._record()
        self._end()

    def _settle(self, member: Member, outcome: StepOutcome) -> None:
        member.outcome = outcome
        if outcome.events:
            self._unrecorded.append(member)

    def _end(self) -> None:
        """Records what is left, and ends the turn if a step has not ended, or the turn has taken on its share."""
        waiting = [member for member in self._members if not member.has_ended]
        goes_on = any(member.outcome is None for member in waiting)
        # Doubts come last, so that they are the run's status, which a turn that went on with others has changed.
        for member in waiting:
            if member.step is not None and member.step.waits_for == DOUBT:
                self._settle(member, member.step.waiting(DOUBT))
        if not waiting and not self._execution.share.is_over():
            self._record_and_leave()
        elif self._unrecorded:
            self._record(ends_turn=True, goes_on=goes_on or not waiting)
            raise StepCompleted(self._members[-1].asked.step_id)
        elif waiting:
            why = f"step {waiting[0].asked.step_id!r} still waits"
            raise self._execution.journal.lose(why, goes_on=goes_on)

    def _record_and_leave(self) -> None:
        """Records what is left, but for failures: mostly they are the run's, too, which is recorded in one call with them."""
        failed = [member for member in self._unrecorded if member.has_failed]
        self._unrecorded = [member for member in self._unrecorded if not member.has_failed]
        self._record()
        for member in failed:
            assert member.step is not None
            assert member.outcome is not None
            member.step.leave(member.outcome)

    def _record(self, *, ends_turn: bool = False, goes_on: bool = False) -> None:
        """Records what has come about since, in as few calls as may be."""
        while self._unrecorded:
            part, self._unrecorded = self._unrecorded[:EVENTS_A_CALL], self._unrecorded[EVENTS_A_CALL:]
            is_last = ends_turn and not self._unrecorded
            try:
                _append(part, is_last, goes_on)
            except DatabaseError:
                self._record_each(part, is_last, goes_on)

    def _record_each(self, members: list[Member], ends_turn: bool, goes_on: bool) -> None:
        """The database refuses what one of them has come to at least: that one has failed."""
        for member in members:
            is_last = ends_turn and member is members[-1]
            try:
                _append([member], is_last, goes_on)
            except DatabaseError as refusal:
                assert member.step is not None
                assert member.outcome is not None
                if member.outcome.is_of(DOUBT):
                    raise member.step.lose_doubt(refusal) from refusal
                member.outcome = member.step.failure(refusal, 0.0)
                try:
                    _append([member], is_last, goes_on)
                except DatabaseError as again:
                    raise member.step.lose_failure(again) from refusal


def _append(members: Sequence[Member], ends_turn: bool, goes_on: bool) -> None:
    events = [event for member in members if member.outcome is not None for event in member.outcome.events]
    step = members[0].step
    assert step is not None
    step.execution.append(*events, ends_turn=ends_turn, goes_on=ends_turn and goes_on)


def _recorded(step: Recorded, asked: StepRequest) -> StepOutcome:
    try:
        return StepOutcome(value=asked.outcome(step))
    except Exception as error:
        return StepOutcome(error=error)
