"""What a workflow asks of a step, and how an attempt of it is made: alone (here), or beside others (:mod:`.batch`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django_hookflow import wrappers
from django_hookflow.clock import clock
from django_hookflow.events import types
from django_hookflow.events.database import check_transaction
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import StepTimedOut, WorkerLost
from django_hookflow.runtime.execution import Execution
from django_hookflow.runtime.journal import check_no_transaction
from django_hookflow.runtime.step import RETRY, Doubt, Options, Recorded, StepOutcome, Todo
from django_hookflow.runtime.turn_loop import limited, run_to_end


@dataclass(frozen=True)
class StepRequest:
    """What is asked of a step: to do ``work``, or what ``begin`` answers: that it waits, or the work of this attempt.

    ``outcome`` answers what a step that has ended came to.
    """

    step_id: str
    kind: str
    options: Options
    begin: Callable[[Todo], StepOutcome | Callable[[], Any]] | None = None
    outcome: Callable[[Recorded], Any] = Recorded.value
    work: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        if self.options.offload and self.kind != "call":
            raise ValueError(f"step {self.step_id!r}: options(offload=True) only works with ctx.step.call")

    def work_of(
        self, step: Todo, from_thread: Callable[[Callable[[], Any]], Any] | None = None
    ) -> Callable[[], Any] | StepOutcome:
        """The work of an attempt with what the project puts around it, or at once what it comes to: that it waits, say.

        A coroutine is run to its end. With ``from_thread``, by which a thread waits for it, an async function is awaited by
        who does the work.
        """
        turn = step.execution.turn
        work: Callable[[], Any] | None = self.work
        if work is not None:
            work = partial(limited, work, self.options.timeout) if from_thread else partial(_done, step, work)
        if self.begin is not None:
            begun = self.begin(step)
            if isinstance(begun, StepOutcome) and (turn is None or self.kind != types.CHILD):
                return begun
            work = partial(_same, begun) if isinstance(begun, StepOutcome) else begun
        assert work is not None
        if turn is not None:
            about = replace(turn, what="step", kind=step.kind, step_id=step.step_id, attempt=step.attempt)
            work = wrappers.around_awaited(about, work, from_thread) if from_thread else wrappers.around(about, work)
        if isinstance(step, Doubt):
            return _work_in_doubt(step, work)
        step.is_intended = self.begin is None and self.options.on_doubt is not None
        return work


def perform(execution: Execution, asked: StepRequest) -> Any:
    """Does what is asked of a step, if it is not recorded, and records what came of it, before the workflow goes on."""
    step = execution.begin(asked.step_id, asked.kind, asked.options)
    if isinstance(step, Recorded):
        return asked.outcome(step)
    work = asked.work_of(step)
    recorded = step.record(work) if isinstance(work, StepOutcome) else attempt(step, work)
    step.end_turn_if_last()
    return recorded


def attempt(step: Todo, work: Callable[[], Any], began: float | None = None) -> Any:
    """Does the work and records what came of it; whatever keeps it from the record is a failure of the attempt.

    ``began`` is when it began, if it is done already.
    """
    execution, is_atomic = step.execution, step.kind == "atomic"
    execution.running.append(step.step_id)
    began = clock.monotonic() if began is None else began
    try:
        if step.is_intended:
            step.intend()
        with execution.atomic() if is_atomic else nullcontext():
            outcome = _outcome_of(step, work, began)
            if not outcome.is_waiting:
                return step.record(outcome)
    except Exception as error:
        step.fail(error, clock.monotonic() - began)
    finally:
        execution.running.pop()
    return step.record(outcome)


def attempt_beside(step: Todo, work: Callable[[], Any]) -> StepOutcome:
    """Does the work beside others, and answers what is to be recorded of it: nothing of an atomic step, which records itself."""
    execution = step.execution
    execution.running.append(step.step_id)
    began = clock.monotonic()
    try:
        if step.is_intended:
            step.intend()
        if step.kind != "atomic":
            return _outcome_of(step, work, began)
        outcomes: list[StepOutcome] = []

        def completion() -> NewEvent:
            outcomes.append(_outcome_of(step, work, began))
            return outcomes[0].events[0]

        execution.journal.atomic_beside(completion)
        return replace(outcomes[0], events=())
    except Exception as error:
        return step.failure(error, clock.monotonic() - began)
    finally:
        execution.running.pop()


def _outcome_of(step: Todo, work: Callable[[], Any], began: float) -> StepOutcome:
    result = work()
    if isinstance(result, StepOutcome):
        return result
    took = clock.monotonic() - began
    if step.options.timeout is not None and took > step.options.timeout:
        raise StepTimedOut(took, step.options.timeout)
    check_transaction() if step.kind == "atomic" else check_no_transaction(step.execution.journal)
    return step.completion(result, took)


def _done(step: Todo, work: Callable[[], Any]) -> Any:
    """What the work comes to; a coroutine is run to its end."""
    result = work()
    if not inspect.isawaitable(result):
        return result
    if step.kind == "atomic":
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            f"step {step.step_id!r} is atomic but its function is async: Django does not support transactions in async "
            "code, so pass a sync function to ctx.step.atomic, or use ctx.step.run"
        )
    return run_to_end(result, step.step_id, step.options.timeout)


def _same(outcome: StepOutcome) -> StepOutcome:
    return outcome


def _work_in_doubt(step: Doubt, work: Callable[[], Any]) -> Callable[[], Any] | StepOutcome:
    """The work to be done now about a step in which a worker was lost."""
    on_doubt = step.options.on_doubt or "retry"
    if on_doubt == "ask":
        return step.waiting(types.DOUBT)
    if callable(on_doubt):
        outcome = on_doubt(step.key)
        if inspect.isawaitable(outcome):
            outcome = run_to_end(outcome, step.step_id, None)
        if outcome is not RETRY:
            return lambda: outcome
    if step.attempt > step.options.retry.max_attempts:
        lost = WorkerLost(step.attempt - 1)

        def give_up() -> Any:
            raise lost

        return give_up
    step.is_intended = True
    return work
