"""What a project puts around work: ``DJANGO_HOOKFLOW_WRAPPERS``, for tenants, error reporting, tracing, metrics.

Each dotted path names a class, made once a process, or an object, with any of the methods ``turn``, ``step`` and ``send``.
Each is called as ``method(work, call)``, where ``call()`` does the work, and returns what that returned. The first of the
list is the outermost, as with Django's middleware.

A method may be ``async def``, and then returns ``await call()``. It is put around plain work, too, with asgiref's
``async_to_sync``. A wrapper may have ``astep`` beside a plain ``step``: that is taken for async functions in async workflows.
Where all that is around such a function is async, it is awaited in the loop of its turn; otherwise a thread waits for it.

======== ======================================================= ============================================================
method   what ``call`` does                                      what an error raised in the method is
======== ======================================================= ============================================================
``turn`` calls the workflow function, once in each turn,         the workflow's: the turn is tried again, or the run fails
         recorded steps answering from the record
``step`` the work of a step that is run, inside its transaction  the step's: the attempt has failed
         if it is ``ctx.step.atomic``; not for what is recorded
``send`` hands a message to the transport (with ``inline``, the  the transport's: the message is sent again later
         relay runs the turn in it)
======== ======================================================= ============================================================

Signals that end a turn early pass through as ``BaseException``: ``except Exception`` is the workflow's or the step's error.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.utils.module_loading import import_string

from django_hookflow.conf import InvalidSetting, conf
from django_hookflow.exceptions import HookFlowException

METHODS = ("turn", "step", "send")
#: The names that a wrapper's method for such work may have, the one that is preferred first.
NAMES = {"turn": ("turn",), "step": ("step", "astep"), "send": ("send",)}
SETTING = "DJANGO_HOOKFLOW_WRAPPERS"

#: What is put inside of everything that the setting names: by the test kit.
innermost: list[Any] = []


class WorkerGone(BaseException):
    """Raised in a wrapper, ends a worker as kill -9 would: nothing is recorded and the run is not handed back. For tests."""


class ForgottenResult(HookFlowException, TypeError):
    """A wrapper has the work done and does not return what came of it."""

    def __init__(self, method: Any) -> None:
        call = "await call()" if is_async(method) else "call()"
        super().__init__(
            f"{method.__qualname__} of {SETTING} returned None, but the wrapped work did not: return {call}"
        )


@dataclass(frozen=True)
class Work:
    """What is about to be done.

    ``what`` is the name of the method: ``turn``, ``step`` or ``send``. ``kind`` is that of the step (``run``, ``atomic``,
    ``call``) or of the message; of a turn ``turn``. ``attempt`` counts from 1. ``data`` is what the run was triggered with
    ({} for a message, which does not carry it), ``message`` what is sent; neither is shown in the text of this.
    """

    what: str
    workflow_id: str
    run_id: str
    kind: str
    step_id: str | None = None
    attempt: int = 1
    label: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    message: Any = field(default=None, repr=False)


def loaded() -> tuple[Any, ...]:
    """The wrappers, outermost first. Raises InvalidSetting for one that cannot be loaded."""
    return (*_loaded(tuple(conf.wrappers)), *innermost)


def around(work: Work, call: Callable[[], Any]) -> Callable[[], Any]:
    """``call`` with everything around it that is to be there for such work."""
    for method in reversed(_methods(NAMES[work.what])):
        call = functools.partial(_run_to_end if is_async(method) else _wrapped, method, work, call)
    return call


def around_awaited(
    work: Work, call: Callable[[], Any], from_thread: Callable[[Callable[[], Any]], Any]
) -> Callable[[], Any]:
    """``call``, which is async, with everything around it: async as well, or a plain function that a thread is to call.

    That has the coroutine waited for by ``from_thread``.
    """
    methods = _methods(NAMES[work.what][::-1])
    if not all(map(is_async, methods)):
        return around(work, functools.partial(from_thread, call))
    for method in reversed(methods):
        call = functools.partial(_awaited, method, work, call)
    return call


def is_async(function: Any) -> bool:
    """Whether to call it is to get a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _methods(names: tuple[str, ...]) -> list[Any]:
    """What is around work, outermost first: of each wrapper the first of these that it has."""
    found = ([getattr(wrapper, name, None) for name in names] for wrapper in loaded())
    return [next(each for each in methods if each is not None) for methods in found if any(methods)]


def _wrapped(method: Any, work: Work, call: Callable[[], Any]) -> Any:
    last: list[Any] = []

    def do() -> Any:
        last[:] = [call()]
        return last[0]

    return _checked(method, method(work, do), last)


async def _awaited(method: Any, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
    last: list[Any] = []

    async def do() -> Any:
        last[:] = [await call()]
        return last[0]

    return _checked(method, await method(work, do), last)


def _run_to_end(method: Any, work: Work, call: Callable[[], Any]) -> Any:
    """Has an async method around plain work, which is done in this thread and, if there is one, in its transaction."""

    async def do() -> Any:
        return (await sync_to_async(outcome_of)(call)).result()

    return async_to_sync(_awaited)(method, work, do)


def outcome_of(call: Callable[[], Any]) -> Future[Any]:
    """What a call for a coroutine came to, as a value: before Python 3.12 no loop's future can be given a StopIteration."""
    outcome: Future[Any] = Future()
    try:
        outcome.set_result(call())
    except BaseException as error:
        outcome.set_exception(error)
    return outcome


def _checked(method: Any, result: Any, last: list[Any]) -> Any:
    if result is None and last and last[0] is not None:
        raise ForgottenResult(method)
    return result


@functools.lru_cache(maxsize=8)
def _loaded(paths: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(load(path) for path in paths)


def load(path: str) -> Any:
    """The wrapper that a dotted path names. Raises InvalidSetting, which says what is wrong with it."""
    remedy = (
        f"list dotted paths of classes or objects with any of the methods {', '.join(METHODS)}, each called "
        "with (work, call)"
    )
    try:
        found = import_string(path)
        wrapper = found() if isinstance(found, type) else found
    except Exception as error:  # the project's code, which may raise anything
        problem = f"names {path!r}, which cannot be loaded ({type(error).__name__}: {error})"
        raise InvalidSetting(SETTING, problem, remedy) from error
    if not any(callable(getattr(wrapper, name, None)) for names in NAMES.values() for name in names):
        raise InvalidSetting(SETTING, f"names {path!r}, which has none of these methods", remedy)
    return wrapper
