"""Async workflows: the same steps, each of which is awaited, and several at once.

A coroutine that awaits a step asks for it. When nothing is left in the loop that could run, the pass goes on, one thing at
a time: what is recorded is answered first, in the order of the log; then what is new begins, in the order asked, async
functions together and everything else one after another; what has ended is recorded, and answered, one by one. So the
order in which a workflow learns of outcomes is that of the log, in a replay as the first time. What waits (a sleep, a
signal, a child, a backoff) lets the others go on; only when nothing else is left do the waits begin, in one append, and the
turn ends. A step whose coroutine is cancelled is withdrawn: a replay cancels it at the same place and finds nothing of it.
There is no second engine: a step is begun and recorded by :class:`.steps.StepManager`.
"""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import heapq
import inspect
import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import DatabaseError

from django_hookflow.clock import clock
from django_hookflow.durations import Duration
from django_hookflow.events import types
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import DuplicateStep, MisplacedStep, StepCompleted, WorkflowError
from django_hookflow.registry import Workflow
from django_hookflow.runtime.attempts import StepRequest, attempt, perform
from django_hookflow.runtime.children import OnCancel
from django_hookflow.runtime.execution import Diverged, Execution
from django_hookflow.runtime.groups import Handle, Noted, OnError, note_items
from django_hookflow.runtime.history import SUSPENDED, StepRecord
from django_hookflow.runtime.retries import Retry
from django_hookflow.runtime.step import OnDoubt, Recorded, StepOutcome, Todo
from django_hookflow.runtime.steps import StepManager
from django_hookflow.runtime.turn_loop import TurnLoop, current_step, turn_loop
from django_hookflow.runtime.verbs import NO_DEFAULT
from django_hookflow.texts import checked_step_id
from django_hookflow.wrappers import is_async

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class Limit:
    """How many steps of a group are under way at once: at work, and of children those that run, too.

    ``scope`` is what its steps wait for together, where nothing else is waited for.
    """

    most: int
    scope: str = types.TASK
    is_of_children: bool = False
    taken: int = 0

    def __post_init__(self) -> None:
        self.queue: deque[AskedStep] = deque()


@dataclass(eq=False)
class AskedStep:
    """A step that a coroutine awaits. ``perform`` is what a synchronous workflow would call."""

    step_id: str
    record: StepRecord | None
    perform: Callable[[], Any]
    future: asyncio.Future[Any]
    #: Of a step whose function is async: how to begin it.
    begin: Callable[[], Recorded | tuple[Todo, Callable[[], Any]]] | None = None
    limit: Limit | None = None
    group: Limit | None = None


@dataclass(eq=False)
class InFlight:
    """An async step at work."""

    asked: AskedStep
    step: Todo
    task: asyncio.Task[Any]
    began: float


class AsyncPass:
    """One pass of an async workflow."""

    def __init__(self, execution: Execution, loop: TurnLoop) -> None:
        self.execution = execution
        self._loop = loop
        #: By the seq of their outcome, then in the order asked.
        self._recorded: list[tuple[int, int, AskedStep]] = []
        self._asked: list[AskedStep] = []
        self._in_flight: list[InFlight] = []
        self._count = 0
        self._is_over = False
        #: Each call of a step by the workflow.
        self.called: list[tuple[str, Coroutine[Any, Any, Any]]] = []
        self.waiting: list[AskedStep] = []
        execution.held = []
        execution.aside = loop.standing_still

    def run(self, workflow: Coroutine[Any, Any, T]) -> T:
        """What the workflow comes to; raises what ends its turn before."""
        task = self._loop.create_task(workflow)
        try:
            self._loop.run_ready()
            while not task.done():
                self._go_on()
                self._loop.run_ready()
        finally:
            self._is_over = True
        if task.cancelled():
            raise RuntimeError("the workflow's coroutine was cancelled, by itself or by something it awaited")
        result = task.result()
        left = [*self._forgotten(), *(each.step_id for each in self._unanswered())]
        if left:
            raise WorkflowError(
                f"the workflow ended without awaiting {', '.join(map(repr, left))}: write 'await ctx.step…', and await "
                "tasks started with create_task, or use asyncio.TaskGroup or asyncio.gather"
            )
        return result

    def _forgotten(self) -> Iterator[str]:
        for step_id, coroutine in self.called:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
                yield step_id

    def _unanswered(self) -> Iterable[AskedStep]:
        recorded, in_flight = (each for *_, each in self._recorded), (each.asked for each in self._in_flight)
        asked = (*recorded, *self._asked, *self.waiting, *in_flight)
        return (each for each in asked if not each.future.cancelled())

    async def ask(
        self,
        step_id: str,
        perform: Callable[[], Any],
        begin: Callable[[], Any] | None = None,
        limit: Limit | None = None,
    ) -> Any:
        """Has the pass perform a step, and answers what came of it."""
        step_id = checked_step_id(step_id)
        inside = current_step.get()
        if inside is not None:
            raise MisplacedStep(
                f"step {step_id!r}", f"was called inside step {inside!r}: call it from the workflow itself"
            )
        self.execution.check_may_ask(step_id)
        record = self.execution.history.find(step_id)
        asked = AskedStep(step_id, record, perform, self._loop.create_future(), begin, limit, limit)
        if record is not None and record.has_ended:
            self._count += 1
            heapq.heappush(self._recorded, (record.seq, self._count, asked))
        elif limit is None:
            self._asked.append(asked)
        elif limit.taken < limit.most:
            limit.taken += 1
            self._asked.append(asked)
        else:
            limit.queue.append(asked)
        try:
            return await asked.future
        except asyncio.CancelledError:
            if asked.future.cancelled() and not self._is_over:
                self._withdraw(asked)
            raise

    def _withdraw(self, asked: AskedStep) -> None:
        """Nobody awaits the step any more: it does not begin, its work is cancelled, and it waits no longer."""
        for in_flight in self._in_flight:
            if in_flight.asked is asked:
                in_flight.task.cancel()
        for steps in (self._asked, self.waiting):
            if asked in steps:
                steps.remove(asked)
        if asked.limit is not None and asked in asked.limit.queue:
            asked.limit.queue.remove(asked)
        elif asked.record is None or not asked.record.has_ended:
            self.release(asked)
        self.execution.withdraw(asked.step_id)

    async def ask_all(self, handles: list[Handle[Any]], limit: Limit, on_error: OnError) -> None:
        """Has the steps of a group performed at once; raises the first failure, in the order asked, when all have ended."""
        if handles:
            limit.scope = handles[0].asked.step_id
        answers = await asyncio.gather(
            *(self.ask_request(handle.asked, limit) for handle in handles), return_exceptions=True
        )
        for handle, answer in zip(handles, answers, strict=True):
            if isinstance(answer, DuplicateStep):
                raise answer
            handle.outcome = StepOutcome(error=answer) if isinstance(answer, Exception) else StepOutcome(value=answer)
        if on_error == "raise":
            for handle in handles:
                handle.result()

    async def ask_request(self, request: StepRequest, limit: Limit | None = None) -> Any:
        is_awaited = request.kind == "run" and is_async(request.work)
        begin = partial(self._begin_request, request) if is_awaited else None
        return await self.ask(request.step_id, partial(perform, self.execution, request), begin, limit)

    def _begin_request(self, request: StepRequest) -> Recorded | tuple[Todo, Callable[[], Any]]:
        """A step whose function is async: what is recorded of it, or the attempt and its work.

        The work is an async function, or where something plain is put around it a plain one that waits for it in a thread.
        """
        step = self.execution.begin(request.step_id, request.kind, request.options)
        if isinstance(step, Recorded):
            return step
        to_do = request.work_of(step, self._loop.from_thread)
        if isinstance(to_do, StepOutcome):
            step.record(to_do)
            raise StepCompleted(step.step_id)
        return step, to_do

    def release(self, asked: AskedStep) -> None:
        """A step is under way no more: the next of its group comes in its place."""
        limit, asked.limit = asked.limit, None
        if limit is None:
            return
        if limit.queue:
            self._asked.append(limit.queue.popleft())
        else:
            limit.taken -= 1

    def _go_on(self) -> None:
        """Does the next thing that is to be done. Raises what ends the turn."""
        if self._recorded:
            *_, recorded = heapq.heappop(self._recorded)
            recorded.limit = None  # it takes nobody's place
            if not recorded.future.cancelled():
                self._perform(recorded)
        elif ended := next((each for each in self._in_flight if each.task.done()), None):
            self._in_flight.remove(ended)
            self._record(ended)
        elif self._asked and not self.execution.share.is_over(len(self._in_flight), self._has_begun()):
            self._begin_next()
        elif self._in_flight:
            self._loop.run_until_stopped()
        elif self.waiting or self._asked:
            self._end_turn()
        else:
            raise MisplacedStep(
                "the workflow", "awaits something that is not a step and never completes: await steps only"
            )

    def _has_begun(self) -> bool:
        return bool(self._in_flight or self.execution.held)

    def _begin_next(self) -> None:
        unasked = self.execution.history.next_unasked()
        new = next((each for each in self._asked if each.record is None), None)
        if new is not None and unasked is not None:
            raise Diverged.unasked(unasked, new.step_id)
        asked = next((each for each in self._asked if each.begin is not None), self._asked[0])
        self._asked.remove(asked)
        if asked.begin is None:
            self._perform(asked)
            return
        with self._outcome_for(asked):
            begun = asked.begin()
            if isinstance(begun, Recorded):
                asked.future.set_result(begun.value())
            else:
                self._start(asked, *begun)

    def _start(self, asked: AskedStep, step: Todo, work: Callable[[], Any]) -> None:
        if step.is_intended:
            step.intend()
            step.is_intended = False
        context = contextvars.copy_context()
        context.run(current_step.set, step.step_id)
        coroutine = work() if is_async(work) else self._loop.call_in_thread(work)
        task = context.run(self._loop.create_task, coroutine)
        task.add_done_callback(lambda _: self._loop.stop())
        self._in_flight.append(InFlight(asked, step, task, clock.monotonic()))
        self.execution.in_flight = len(self._in_flight)

    def _record(self, ended: InFlight) -> None:
        self.execution.in_flight = len(self._in_flight)
        if ended.asked.future.cancelled():
            ended.task.cancelled() or ended.task.exception()  # which is nobody's
            return
        with self._outcome_for(ended.asked):
            recorded = attempt(ended.step, ended.task.result, ended.began)
            ended.step.end_turn_if_last()
            ended.asked.future.set_result(recorded)

    def _perform(self, asked: AskedStep) -> None:
        with self._outcome_for(asked):
            asked.future.set_result(asked.perform())

    def _outcome_for(self, asked: AskedStep) -> _Outcome:
        return _Outcome(self, asked)

    def _end_turn(self) -> None:
        execution = self.execution
        # A doubt is said again, last, so that it is the run's status: a turn that went on with other steps has changed that.
        held = sorted([*(execution.held or ()), *filter(None, map(_doubt_of, self.waiting))], key=_is_doubt)
        if not held and not execution.has_left():
            raise execution.journal.lose(f"step {(self.waiting or self._asked)[0].step_id!r} still waits")
        held = [_in_scope(self._scope(), event) for event in held]
        try:
            execution.append(*held, ends_turn=True, goes_on=bool(self._asked))
        except DatabaseError as refusal:
            raise execution.journal.lose(f"the database rejected the wait: {refusal}") from refusal
        raise StepCompleted((self.waiting or self._asked)[0].step_id)

    def _scope(self) -> str:
        """What the run waits for: all of one group, if that is all that is left, else any step, with which a branch goes on."""
        groups = {each.group for each in self.waiting}
        group = groups.pop() if len(groups) == 1 else None
        return types.TASK if group is None or group.queue or self._asked else group.scope


class _Outcome:
    """Hands what a step raises to the coroutine that awaits it; what ends the turn goes past it."""

    def __init__(self, pass_: AsyncPass, asked: AskedStep) -> None:
        self._pass = pass_
        self._asked = asked

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> bool:
        if isinstance(error, StepCompleted) and not self._pass.execution.journal.over:
            self._pass.waiting.append(self._asked)
            if self._asked.limit is not None and not self._asked.limit.is_of_children:
                self._pass.release(self._asked)
            return True
        if isinstance(error, Exception) and not self._asked.future.done():
            self._asked.future.set_exception(error)
            error = None
        if self._asked.future.done():
            self._pass.release(self._asked)
        return kind is not None and error is None


def _to_be_awaited(verb: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Has the pass know of each call, so that one which is not awaited does not go unnoticed."""

    @wraps(verb)
    def call(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        coroutine = verb(*args, **kwargs)
        steps: Any = args[0]
        steps.pass_.called.append((kwargs.get("step_id", args[1] if len(args) > 1 else ""), coroutine))
        return coroutine

    return call


class AsyncStepManager:
    """``ctx.step`` of an async workflow: the same methods as :class:`.steps.StepManager`, to be awaited."""

    def __init__(self, pass_: AsyncPass, steps: StepManager) -> None:
        self.pass_ = pass_
        self._steps = steps

    @_to_be_awaited
    async def run(self, step_id: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As in a sync workflow; ``fn`` may be async and then runs concurrently with other awaited steps."""
        work = partial(fn, *args, **kwargs)
        return await self.pass_.ask_request(StepRequest(step_id, "run", self._steps.policy, work=work))

    @_to_be_awaited
    async def atomic(self, step_id: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As in a sync workflow; ``fn`` must be a sync function because Django has no transactions in async code."""
        return await self.pass_.ask(step_id, partial(self._steps.atomic, step_id, fn, *args, **kwargs))

    @_to_be_awaited
    async def call(
        self,
        step_id: str,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        result: dict[str, Any] = await self.pass_.ask(
            step_id, partial(self._steps.call, step_id, url, method, body, headers)
        )
        return result

    @_to_be_awaited
    async def sleep(self, step_id: str, seconds: Duration) -> None:
        await self.pass_.ask(step_id, partial(self._steps.sleep, step_id, seconds))

    @_to_be_awaited
    async def sleep_until(self, step_id: str, moment: datetime.datetime) -> None:
        await self.pass_.ask(step_id, partial(self._steps.sleep_until, step_id, moment))

    @_to_be_awaited
    async def wait_for_signal(
        self, step_id: str, name: str | None = None, timeout: Duration | None = None, default: Any = NO_DEFAULT
    ) -> Any:
        return await self.pass_.ask(step_id, partial(self._steps.wait_for_signal, step_id, name, timeout, default))

    @_to_be_awaited
    async def child(
        self,
        step_id: str,
        workflow: Any,
        data: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_cancel: OnCancel = "cancel",
    ) -> Any:
        perform = partial(self._steps.child, step_id, workflow, data, run_id=run_id, on_cancel=on_cancel)
        return await self.pass_.ask(step_id, perform)

    def parallel(self, *, max_workers: int | None = None, on_error: OnError = "raise") -> AsyncGroup:
        """As in a sync workflow: ``async with ctx.step.parallel() as group``. Async functions run concurrently."""
        return AsyncGroup(self.pass_, self._steps, max_workers, on_error)

    @_to_be_awaited
    async def map(
        self,
        step_id: str,
        work: Callable[[Any], Any] | Workflow,
        items: Iterable[Any],
        *,
        key: Callable[[Any], Any] | None = None,
        max_workers: int | None = None,
    ) -> list[Any]:
        """As in a sync workflow; the next child starts when one has ended. Async functions run concurrently."""
        handles, most = note_items(self._steps, step_id, work, items, key, max_workers)
        await self.pass_.ask_all(handles, Limit(most, is_of_children=isinstance(work, Workflow)), "raise")
        return [handle.result() for handle in handles]

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        on_doubt: OnDoubt | None = None,
        offload: bool = False,
    ) -> AsyncStepManager:
        """As in a sync workflow; an async function is cancelled after its ``timeout``."""
        steps = self._steps.options(retry=retry, timeout=timeout, on_doubt=on_doubt, offload=offload)
        return AsyncStepManager(self.pass_, steps)

    def idempotency_key(self, step_id: str) -> str:
        return self._steps.idempotency_key(step_id)


class AsyncGroup(Noted):
    """Steps that run in parallel: ``async with ctx.step.parallel() as group``. They start when the block ends."""

    def __init__(self, pass_: AsyncPass, steps: StepManager, max_workers: int | None, on_error: OnError) -> None:
        super().__init__(steps, max_workers, on_error)
        self._pass = pass_

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._verbs.notes.is_open = False
        if kind is None:
            await self._pass.ask_all(self._verbs.notes.handles, Limit(self._max_workers), self._on_error)


def run_async(execution: Execution, steps: StepManager, call: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Runs an async workflow, which ``call`` begins when it is given its ``ctx.step``."""
    with turn_loop(is_strict=True) as loop:
        pass_ = AsyncPass(execution, loop)
        return pass_.run(call(AsyncStepManager(pass_, steps)))


def _doubt_of(asked: AskedStep) -> NewEvent | None:
    record = asked.record
    if record is None or record.state != SUSPENDED or record.waits_for != types.DOUBT:
        return None
    facts = {"kind": types.DOUBT, "attempt": record.attempts, "step_kind": record.kind, "scope": types.TASK}
    return NewEvent(types.STEP_SUSPENDED, asked.step_id, json.dumps(facts))


def _in_scope(scope: str, event: NewEvent) -> NewEvent:
    facts = json.loads(event.facts)
    return replace(event, facts=json.dumps({**facts, "scope": scope})) if facts.get("scope") == types.TASK else event


def _is_doubt(event: NewEvent) -> bool:
    return event.type == types.STEP_SUSPENDED and json.loads(event.facts)["kind"] == types.DOUBT
