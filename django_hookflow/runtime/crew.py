"""The threads that do the work of steps which run at once, or, with one worker, the turn's own thread."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_hookflow.runtime.attempts import attempt_beside

if TYPE_CHECKING:
    from django_hookflow.runtime.execution import Execution
    from django_hookflow.runtime.step import StepOutcome, Todo

#: Steps whose work has ended and is not recorded yet, at most: as many may run again when a worker dies.
MOST_UNRECORDED = 100


class Job:
    """The work of a step, for its ``owner``; ``outcome`` is what came of it, ``error`` what ends the turn instead."""

    def __init__(self, owner: Any, step: Todo, work: Callable[[], Any]) -> None:
        self.owner = owner
        self.step = step
        self.work = work
        self.outcome: StepOutcome | None = None
        self.error: BaseException | None = None

    def do(self) -> None:
        try:
            self.step.execution.journal.check_may_work(self.step.step_id)
            self.outcome = attempt_beside(self.step, self.work)
        except (
            BaseException
        ) as error:  # not of the step, whose errors are outcomes: it ends the turn, in the turn's thread
            self.error = error


class Crew:
    """As a context manager, has ``jobs`` done, in their order, as long as the turn may take on more; what it leaves, stays."""

    def __init__(self, execution: Execution, jobs: deque[Job], workers: int) -> None:
        self._execution = execution
        self._jobs = jobs
        self._number = workers
        self._ended: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # None: a thread has
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(MOST_UNRECORDED)
        self._under_way = self._to_release = self._at_work = 0
        self._is_stopped = False
        self._context = contextvars.copy_context()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Crew:
        if self._number > 1:
            self._threads = [threading.Thread(target=self._work_on, daemon=True) for _ in range(self._number)]
            self._at_work = self._number
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """No more begins; what has begun is waited for."""
        self._is_stopped = True
        self._slots.release(max(len(self._threads), 1))
        for thread in self._threads:
            thread.join()

    def wait(self) -> list[Job]:
        """What has ended since this was called last, one at least; what was answered then is recorded now.

        Nothing when all that may begin in this turn has ended. Raises what ends the turn.
        """
        if self._to_release:
            self._slots.release(self._to_release)
        ended = self._collect() if self._threads else self._do_next()
        with self._lock:
            self._under_way -= len(ended)
        self._to_release = len(ended)
        for job in ended:
            if job.error is not None:
                raise job.error
        return ended

    def _collect(self) -> list[Job]:
        ended: list[Job] = []
        while (self._at_work and not ended) or not self._ended.empty():
            job = self._ended.get()
            if job is None:
                self._at_work -= 1
            else:
                ended.append(job)
        return ended

    def _do_next(self) -> list[Job]:
        job = self._next()
        if job is None:
            return []
        job.do()
        return [job]

    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing more begins."""
        with self._lock:
            if self._under_way == 0 and (not self._jobs or self._execution.share.is_over()):
                self._is_stopped = True
            return self._under_way == 0 and self._is_stopped

    def _work_on(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._context.copy().run(job.do)
                self._ended.put(job)
        finally:
            connections.close_all()
            self._ended.put(None)

    def _next(self) -> Job | None:
        """The job to be done now, None if there is none or the turn has taken on its share."""
        self._slots.acquire()
        with self._lock:
            if self._is_stopped or not self._jobs or not self._execution.share.take():
                return None
            self._under_way += 1
            return self._jobs.popleft()
