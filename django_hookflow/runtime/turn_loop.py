"""An event loop that runs in the thread of a turn, and stops whenever there is something to be done outside of it.

Django refuses its database to code in a running loop. So what a turn records is recorded while the loop stands still, and
synchronous code that async code calls (``sync_to_async``, and with it the ORM's async methods) is run then, too, in the
turn's own thread and on its connection: in a test it sees the test's transaction, and no connection is left open.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import _get_running_loop, _set_running_loop  # for implementations of event loops, as this is one
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from asgiref.sync import AsyncToSync
from django.db import connections

from django_hookflow.clock import clock
from django_hookflow.exceptions import MisplacedStep, StepTimedOut
from django_hookflow.wrappers import outcome_of

#: The id of the step whose coroutine this is; None in the workflow itself.
current_step: ContextVar[str | None] = ContextVar("current_step", default=None)
#: Seconds that a coroutine has to end once its time is up and it has been cancelled.
GRACE = 1.0
#: Steps at a time that something of the project's is put around, each of which takes a thread.
MAX_WRAPPED = 32


class CallsInTurn(Executor):
    """Keeps calls for the thread of the turn, which makes them when its loop has stopped."""

    def __init__(self, loop: TurnLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._calls.append((future, partial(fn, *args, **kwargs)))
        self._loop.stop()
        return future

    def make(self) -> bool:
        """Makes the calls there are; False when there are none."""
        made = bool(self._calls)
        while self._calls:
            future, call = self._calls.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # the coroutine's, which waits for it
                future.set_exception(error)
        return made


class _Waiting(selectors.DefaultSelector):
    """Has no loop running while it waits: under gevent, other code of the same thread goes on then, and may use Django's database."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        running = _get_running_loop()
        _set_running_loop(None)
        try:
            return super().select(timeout)
        finally:
            _set_running_loop(running)


class TurnLoop(asyncio.SelectorEventLoop):
    """The loop of one turn. With ``is_strict``, what is no step may not wait for time, sockets or threads."""

    def __init__(self, *, is_strict: bool) -> None:
        super().__init__(_Waiting())
        self._is_strict = is_strict
        self.calls = CallsInTurn(self)
        self._pool: ThreadPoolExecutor | None = None

    def run_ready(self) -> None:
        """Runs until nothing is left that could run now."""
        while self._ready or self.calls.make():  # type: ignore[attr-defined] # which no public method tells
            self.call_soon(self.stop)
            self.run_forever()

    def run_until_stopped(self) -> None:
        """Waits for what is going on, until somebody stops the loop."""
        self.run_forever()
        self.calls.make()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """For a short call of synchronous code out of a coroutine: it is not in the loop, which stands still meanwhile."""
        _set_running_loop(None)
        try:
            yield
        finally:
            _set_running_loop(self)

    async def call_in_thread(self, call: Callable[[], Any]) -> Any:
        """Has a thread make the call, in this context; its connections are closed afterwards."""
        self._pool = self._pool or ThreadPoolExecutor(MAX_WRAPPED, "hookflow-step")
        call = partial(outcome_of, partial(_and_close, call))
        return (await super().run_in_executor(self._pool, copy_context().run, call)).result()

    def from_thread(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the coroutine comes to in this loop, for a thread that waits for it."""

        async def work() -> Any:
            AsyncToSync.executors.current = self.calls  # the thread's context may have brought another one along
            return await call()

        return asyncio.run_coroutine_threadsafe(work(), self).result()

    def end(self) -> None:
        """Cancels what is left, gives it one chance to clean up, and closes the loop."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        self.run_ready()
        left = asyncio.all_tasks(self)
        if self._pool is not None:
            self._pool.shutdown(wait=not left)
            self.run_ready()
        for task in left:
            setattr(task, "_log_destroy_pending", False)  # noqa: B010 no public name; it has caught its cancellation
        self.close()

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self._check_in_step("sleeps outside a step: use ctx.step.sleep, or the timeout option of a step")
        return super().call_at(when, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        self._check_in_step("uses a thread, for example for a database query: do that in a step")
        return super().run_in_executor(executor, func, *args)

    def _check_in_step(self, problem: str) -> None:
        if self._is_strict and current_step.get() is None:
            raise MisplacedStep("the workflow", problem)


@contextmanager
def turn_loop(*, is_strict: bool = False) -> Iterator[TurnLoop]:
    """A loop for this thread, by which ``sync_to_async`` comes back to it."""
    loop = TurnLoop(is_strict=is_strict)
    before = getattr(AsyncToSync.executors, "current", None)
    AsyncToSync.executors.current = loop.calls
    try:
        yield loop
    finally:
        try:
            loop.end()
        finally:
            AsyncToSync.executors.current = before


async def limited(call: Callable[[], Awaitable[Any]], timeout: float | None) -> Any:
    """What it comes to within so many seconds; then it is cancelled, and StepTimedOut is raised whatever it makes of that."""
    began = clock.monotonic()
    task = asyncio.ensure_future(call())
    try:
        await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE)
        assert timeout is not None
        raise StepTimedOut(clock.monotonic() - began, timeout)
    if task.cancelled():
        raise RuntimeError("the step's coroutine was cancelled, by itself or by something it awaited")
    return task.result()


def run_to_end(awaitable: Awaitable[Any], step_id: str, timeout: float | None) -> Any:
    """What an awaitable comes to, where nothing else goes on meanwhile."""

    async def work() -> Any:
        current_step.set(step_id)
        return await limited(lambda: awaitable, timeout)

    with turn_loop() as loop:
        task = loop.create_task(work())
        task.add_done_callback(lambda _: loop.stop())
        while not task.done():
            loop.run_until_stopped()
        return task.result()


def _and_close(call: Callable[[], Any]) -> Any:
    try:
        return call()
    finally:
        connections.close_all()
