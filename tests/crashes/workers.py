"""Workers that crash, stall and work at the same time, each as far as its statements on the database show it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from django.db import connection

from tests.crashes.wire import Side

T = TypeVar("T")
Execute = Callable[..., Any]


class WorkerDied(BaseException):
    """The process is gone: whatever it would still do, no statement of it gets through."""


class Crash:
    """Crashes a worker at its ``at``-th statement (from 0): it dies, or its connection breaks and it may reconnect.

    For ``connection.execute_wrapper``. COMMIT is not seen here: a death after it is one before the next statement, and
    the rest is what ``test_every_statement`` is for.
    """

    def __init__(self, at: int, side: Side, dies: bool) -> None:
        self.at, self.side, self.dies = at, side, dies
        self.seen = 0
        self.happened = False

    def __call__(self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if self.happened and self.dies:
            raise WorkerDied
        self.seen += 1
        if self.happened or self.seen <= self.at:
            return execute(sql, params, many, context)
        self.happened = True
        if self.side == "after":
            execute(sql, params, many, context)
        if self.dies:
            raise WorkerDied
        context["connection"].connection.close()
        return execute(sql, params, many, context)


class Stall:
    """Stops a worker before its ``at``-th statement until :meth:`let_go`, as SIGSTOP would.

    Not between an append and the COMMIT that follows it: the run's head is locked there, for a moment in life and for as
    long as the worker stands here.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0
        #: Set when the worker stands still, or is done without having come so far.
        self.stands = threading.Event()
        self._may_go = threading.Event()

    def __call__(self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.seen += 1
        is_append = "hookflow_append" in sql or "hookflow_complete" in sql
        holds_head = context["connection"].in_atomic_block and not is_append and "INSERT" not in sql
        if self.seen > self.at and not self.stands.is_set() and not holds_head:
            self.stands.set()
            assert self._may_go.wait(60), "a stalled worker was forgotten"
        return execute(sql, params, many, context)

    def let_go(self) -> None:
        self._may_go.set()


class Worker:
    """A thread with a database connection of its own that does one thing at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="worker")

    def begin(self, work: Callable[[], T]) -> Future[T]:
        return self._thread.submit(work)

    def close(self) -> None:
        self._thread.submit(lambda: connection.close()).result()  # in its thread: connection is another in each
        self._thread.shutdown()


def begin_together(workers: list[Worker], works: list[Callable[[], Any]]) -> list[Any]:
    """Has each worker do its work at the same moment; what they returned. The first error is raised, after all are done."""
    barrier = threading.Barrier(len(works))

    def at_once(work: Callable[[], Any]) -> Any:
        barrier.wait(60)
        return work()

    futures = [worker.begin(partial(at_once, work)) for worker, work in zip(workers, works, strict=True)]
    for future in futures:
        future.exception()
    return [future.result() for future in futures]
