"""Workflows by id: the decorator that makes them, and where deliveries find them."""

from __future__ import annotations

import datetime
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from asgiref.sync import sync_to_async

from django_hookflow.durations import Duration, in_seconds, is_time_limit
from django_hookflow.exceptions import HookFlowException, UnknownWorkflow

if TYPE_CHECKING:
    from django.db.models import Model

    from django_hookflow.runtime.context import WorkflowContext
    from django_hookflow.runtime.retries import Retry

__all__ = ["InvalidWorkflow", "Workflow", "get_workflow", "registered_workflows", "workflow"]

#: Bytes; with a run id of as many, a message stays under 512.
MAX_WORKFLOW_ID = 200
#: What stands for itself in the path of a URL (RFC 3986, pchar without percent-encoding), since the id is part of one.
_WORKFLOW_ID = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")

#: Functions whose call does not run them.
_RUN_LATER = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)

_workflows: dict[str, Workflow] = {}
_places: dict[str, _Place] = {}


class InvalidWorkflow(HookFlowException, ValueError):
    """A workflow's id or function cannot be used, or the id is taken by another function."""


class Workflow:
    """A registered workflow function. Calling it calls the function; :meth:`trigger` starts a run."""

    def __init__(
        self,
        function: Callable[[WorkflowContext], Any],
        workflow_id: str | None = None,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        renamed_steps: Mapping[str, str] | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type):
            raise InvalidWorkflow(
                f"{function!r:.100} is not a function: use @workflow, or @workflow(workflow_id=…) with keyword "
                "arguments only"
            )
        if any(runs_later(called) for runs_later in _RUN_LATER for called in (function, type(function).__call__)):
            raise InvalidWorkflow(
                f"{_name(function)} is a generator function: use a sync or async function without yield"
            )
        seconds = in_seconds(timeout)
        if seconds is not None and not is_time_limit(seconds):
            raise InvalidWorkflow(
                "timeout must be a number of seconds or a timedelta, above 0 and at most ten years, not "
                f"{timeout!r:.100}"
            )
        if retry is not None and not hasattr(retry, "delay_after"):
            raise InvalidWorkflow(f"retry must be a django_hookflow.Retry, not {retry!r:.100}")
        functools.update_wrapper(self, function)  # first, since what has attributes of its own brings them along
        self.function = function
        self.is_async = any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        self.workflow_id = workflow_id or _default_id(function)
        self.retry = retry
        self.timeout: float | None = seconds
        self.renamed_steps = dict(renamed_steps or {})

    def __call__(self, ctx: WorkflowContext) -> Any:
        return self.function(ctx)

    def __repr__(self) -> str:
        return f"<Workflow {self.workflow_id}>"

    def trigger(
        self,
        data: dict[str, Any] | None = None,
        run_id: str | None = None,
        *,
        actor: str | None = None,
        label: str | None = None,
        subject: Model | Iterable[Model] | None = None,
        delay: Duration | None = None,
        at: datetime.datetime | None = None,
        unique: str | None = None,
    ) -> str:
        """Starts a run and returns its ID; see :func:`django_hookflow.runtime.trigger.trigger`.

        ``label`` is what people know the run by, such as an order's number; the admin finds runs by how it begins.
        ``subject`` is what the run is about: a saved model instance, or up to five. With ``delay`` (seconds or a
        ``timedelta``) or ``at`` (a moment with a time zone) it begins then. While a run of this workflow that was started
        with the key ``unique`` has not ended, that run is the answer and nothing is started.
        """
        from django_hookflow.runtime.trigger import trigger  # workflows are defined before models are ready

        return trigger(
            self.workflow_id,
            data,
            run_id,
            actor=actor,
            timeout=self.timeout,
            label=label,
            subject=subject,
            delay=delay,
            at=at,
            unique=unique,
        )

    async def atrigger(self, *args: Any, **kwargs: Any) -> str:
        """Async version of :meth:`trigger`."""
        return await sync_to_async(self.trigger)(*args, **kwargs)

    def signal(
        self, run_id: str, name: str, value: Any = None, *, id: str | None = None, actor: str | None = None
    ) -> bool:
        """Sends a signal to a run of this workflow, see :meth:`.models.WorkflowRun.signal`. Raises UnknownRun."""
        from django_hookflow.runtime.signalling import signal

        return signal(self.workflow_id, run_id, name, value, id=id, actor=actor)


@overload
def workflow(function: Callable[[WorkflowContext], Any], /) -> Workflow: ...


@overload
def workflow(
    *,
    workflow_id: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    renamed_steps: Mapping[str, str] | None = None,
) -> Callable[[Callable[[WorkflowContext], Any]], Workflow]: ...


def workflow(
    function: Callable[[WorkflowContext], Any] | None = None,
    /,
    *,
    workflow_id: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    renamed_steps: Mapping[str, str] | None = None,
) -> Workflow | Callable[[Callable[[WorkflowContext], Any]], Workflow]:
    """Registers a function as a workflow under ``workflow_id``, by default its dotted path.

    ``retry`` is the policy of its steps, and of what it raises between them. ``timeout`` is how long a run may
    take from its trigger on, by the database's clock; then it fails wherever it stands. ``renamed_steps`` maps old step
    ids to new ones, for runs that were under way when the code changed.

    Raises InvalidWorkflow when the id is not fit for a URL or belongs to another function, unless its module is executed
    anew; for a function that is async or a generator; and for what has no name to make an id of, such as a partial.
    """

    def decorate(function: Callable[[WorkflowContext], Any]) -> Workflow:
        made = Workflow(function, workflow_id, retry=retry, timeout=timeout, renamed_steps=renamed_steps)
        _register(made)
        return made

    return decorate if function is None else decorate(function)


def get_workflow(workflow_id: str) -> Workflow:
    """Returns the workflow with this ID. Raises UnknownWorkflow."""
    try:
        return _workflows[workflow_id]
    except KeyError:
        raise UnknownWorkflow(workflow_id) from None


def registered_workflows() -> dict[str, Workflow]:
    """Returns all workflows registered in this process, by ID."""
    return dict(_workflows)


def _register(made: Workflow) -> None:
    workflow_id = made.workflow_id
    if not _WORKFLOW_ID.fullmatch(workflow_id) or len(workflow_id) > MAX_WORKFLOW_ID or workflow_id in (".", ".."):
        raise InvalidWorkflow(
            f"workflow id {workflow_id!r} cannot be used in a URL: use at most {MAX_WORKFLOW_ID} ASCII letters, digits "
            "and -._~ characters, with @workflow(workflow_id=…)"
        )
    known, place = _workflows.get(workflow_id), _Place.current()
    if known is not None and known.function != made.function and not place.is_anew(_places[workflow_id]):
        raise InvalidWorkflow(
            f"workflow id {workflow_id!r} is already used by {_name(known.function)} ({_where(known.function)}): give "
            f"{_name(made.function)} ({_where(made.function)}) another one with @workflow(workflow_id=…). Functions "
            "get the same ID if they have the same name in one module, if a decorator does not use functools.wraps, "
            "or if they are lambdas or created by the same function"
        )
    _workflows[workflow_id] = made
    _places[workflow_id] = place


def forget_local_workflows(known: Mapping[str, Workflow]) -> None:
    """Takes out what a test's functions have registered beside ``known``, so that the next test can use the ids."""
    for workflow_id, made in registered_workflows().items():
        if workflow_id not in known and "<locals>" in _name(made.function):
            del _workflows[workflow_id], _places[workflow_id]


@dataclass(frozen=True)
class _Place:
    """The execution of a module in which a workflow is registered, to tell one that is executed again from two functions."""

    name: str | None = None
    file: str | None = None
    module: Any = None
    spec: Any = None

    @classmethod
    def current(cls) -> _Place:
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_name != "<module>":
            frame = frame.f_back
        found = frame.f_globals if frame is not None else {}
        return cls(found.get("__name__"), found.get("__file__"), found, found.get("__spec__"))

    def is_anew(self, other: _Place) -> bool:
        """Whether this is another execution of the same file, or an interactive session, where all is done again."""
        if (self.name, self.file) != (other.name, other.file):
            return False
        is_reloaded = self.module is not other.module or self.spec is not other.spec
        return is_reloaded or (self.file is None and self.name == "__main__")


def _default_id(function: Callable[..., Any]) -> str:
    if not isinstance(getattr(function, "__qualname__", None), str):
        raise InvalidWorkflow(f"{_name(function)} has no name to use as its ID: set one with @workflow(workflow_id=…)")
    return _name(function).replace(".<locals>", "")


def _name(function: Any) -> str:
    """The dotted path of a function; of what has none, such as a partial, its text."""
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if isinstance(name, str) else f"{function!r:.100}"


def _where(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else f"a {type(function).__name__}"
