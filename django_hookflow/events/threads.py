"""Work on many parts of the log at once, by threads that have a connection each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Generic, NoReturn, TypeVar

from django.db import connections

from django_hookflow.events.database import alias

Part = TypeVar("Part")
Result = TypeVar("Result")


def in_threads(work: Callable[[Part], Result], parts: Iterator[Part], threads: int) -> Iterator[Result]:
    """``work(part)`` for each of ``parts``, in the order in which they get done.

    With one thread the work is done by the caller's own, in its transaction if it has one. An error, of ``work`` or of
    the caller, ends the iteration when every thread has finished its part.
    """
    if threads == 1:
        yield from map(work, parts)
        return
    connections[alias()].close()  # the caller's own has nothing to do meanwhile, and a pool may be small
    crew = _Crew(work, parts, threads)
    try:
        yield from crew.results()
    finally:
        crew.dismiss()


class _Crew(Generic[Part, Result]):
    def __init__(self, work: Callable[[Part], Result], parts: Iterator[Part], size: int) -> None:
        self._work = work
        self._parts = parts
        self._taking = threading.Lock()
        self._dismissed = threading.Event()
        self._done: SimpleQueue[Callable[[], Result] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=f"hookflow-{n}") for n in range(size)]
        for thread in self._threads:
            thread.start()

    def results(self) -> Iterator[Result]:
        at_work = len(self._threads)
        while at_work:
            result = self._done.get()
            if result is None:
                at_work -= 1
            else:
                yield result()

    def dismiss(self) -> None:
        self._dismissed.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while not self._dismissed.is_set():
                with self._taking:
                    part = next(self._parts, None)
                if part is None:
                    break
                result = self._work(part)
                self._done.put(partial(_identity, result))
        except BaseException as error:  # handed to the caller, whatever it is
            self._dismissed.set()
            self._done.put(partial(_throw, error))
        finally:
            try:
                connections[alias()].close()
            finally:  # whatever becomes of the connection, the caller waits for this
                self._done.put(None)


def _identity(result: Result) -> Result:
    return result


def _throw(error: BaseException) -> NoReturn:
    raise error
