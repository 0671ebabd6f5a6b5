"""What a project puts around work: ``DJANGO_HOOKFLOW_WRAPPERS``, for tenants, error reporting, tracing, metrics.

Each dotted path names a class, made once a process, or an object, with any of the methods ``turn``, ``step`` and ``send``.
Each is called as ``method(work, call)``, where ``call()`` does the work, and returns what that returned. The first of the
list is the outermost, as with Django's middleware.

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.module_loading import import_string

from django_hookflow.conf import InvalidSetting, conf
from django_hookflow.exceptions import HookFlowException

METHODS = ("turn", "step", "send")
SETTING = "DJANGO_HOOKFLOW_WRAPPERS"

#: What is put inside of everything that the setting names: by the test kit.
innermost: list[Any] = []


class WorkerGone(BaseException):
    """Raised in a wrapper, ends a worker as kill -9 would: nothing is recorded and the run is not handed back. For tests."""


class ForgottenResult(HookFlowException, TypeError):
    """A wrapper has the work done and does not return what came of it."""

    def __init__(self, method: Any) -> None:
        super().__init__(
            f"{method.__qualname__} of {SETTING} returned None, but the wrapped work did not: return call()"
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
    for wrapper in reversed(loaded()):
        method = getattr(wrapper, work.what, None)
        if method is not None:
            call = functools.partial(_wrapped, method, work, call)
    return call


def _wrapped(method: Any, work: Work, call: Callable[[], Any]) -> Any:
    last: list[Any] = []

    def do() -> Any:
        last[:] = [call()]
        return last[0]

    result = method(work, do)
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
    methods = [getattr(wrapper, name, None) for name in METHODS]
    if not any(map(callable, methods)):
        raise InvalidSetting(SETTING, f"names {path!r}, which has none of these methods", remedy)
    if any(map(inspect.iscoroutinefunction, methods)):
        raise InvalidSetting(SETTING, f"names {path!r}, which has an async method", remedy)
    return wrapper
