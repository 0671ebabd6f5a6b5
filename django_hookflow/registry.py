"""Workflows by id: the decorator that makes them, and where deliveries find them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, overload

from django_hookflow.exceptions import HookFlowException, UnknownWorkflow

if TYPE_CHECKING:
    from django_hookflow.runtime.context import WorkflowContext
    from django_hookflow.runtime.retries import Retry

__all__ = ["InvalidWorkflow", "Workflow", "get_workflow", "registered_workflows", "workflow"]

#: Bytes; with a run id of as many, a message stays under 512.
MAX_WORKFLOW_ID = 200
#: What stands for itself in the path of a URL (RFC 3986, pchar without percent-encoding), since the id is part of one.
_WORKFLOW_ID = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@]+")

#: Functions whose call does not run them.
_RUN_LATER = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)

_workflows: dict[str, Workflow] = {}


class InvalidWorkflow(HookFlowException, ValueError):
    """A workflow's id or function cannot be used, or the id is taken by another function."""


class Workflow:
    """A workflow function under its id. Calling it calls the function; :meth:`trigger` starts a run."""

    def __init__(
        self,
        function: Callable[[WorkflowContext], Any],
        workflow_id: str | None = None,
        *,
        retry: Retry | None = None,
        timeout: float | None = None,
        renamed_steps: Mapping[str, str] | None = None,
    ) -> None:
        if any(runs_later(function) for runs_later in _RUN_LATER):
            raise InvalidWorkflow(
                f"{_default_id(function)} is async or has a yield, so that calling it does not run it: make it a plain "
                f"function; a step may run a coroutine to its end, for example with asgiref.sync.async_to_sync"
            )
        if timeout is not None and not timeout > 0:
            raise InvalidWorkflow(f"timeout is {timeout!r}: it is a number of seconds above 0")
        self.function = function
        self.workflow_id = workflow_id or _default_id(function)
        self.retry = retry
        self.timeout = timeout
        self.renamed_steps = dict(renamed_steps or {})
        functools.update_wrapper(self, function)

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
    ) -> str:
        """Starts a run and returns its id; see :func:`django_hookflow.runtime.trigger.trigger`.

        ``label`` is what people know the run by, such as an order's number; the admin finds runs by how it begins.
        """
        from django_hookflow.runtime.trigger import trigger  # workflows are defined before models are ready

        return trigger(self.workflow_id, data, run_id, actor=actor, timeout=self.timeout, label=label)


@overload
def workflow(function: Callable[[WorkflowContext], Any], /) -> Workflow: ...


@overload
def workflow(
    *,
    workflow_id: str | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    renamed_steps: Mapping[str, str] | None = None,
) -> Callable[[Callable[[WorkflowContext], Any]], Workflow]: ...


def workflow(
    function: Callable[[WorkflowContext], Any] | None = None,
    /,
    *,
    workflow_id: str | None = None,
    retry: Retry | None = None,
    timeout: float | None = None,
    renamed_steps: Mapping[str, str] | None = None,
) -> Workflow | Callable[[Callable[[WorkflowContext], Any]], Workflow]:
    """Makes a function a workflow, registered under ``workflow_id``, by default its dotted path.

    ``retry`` is the policy of its steps, and of what it raises between them. ``timeout`` is how many seconds a run may
    take from its trigger on, by the database's clock; then it fails wherever it stands. ``renamed_steps`` maps old step
    ids to new ones, for runs that were under way when the code changed. Raises InvalidWorkflow when the id is not fit for a URL or belongs to another
    function, and for a function that is async or a generator.
    """

    def decorate(function: Callable[[WorkflowContext], Any]) -> Workflow:
        made = Workflow(function, workflow_id, retry=retry, timeout=timeout, renamed_steps=renamed_steps)
        _register(made)
        return made

    return decorate if function is None else decorate(function)


def get_workflow(workflow_id: str) -> Workflow:
    """The workflow with this id. Raises UnknownWorkflow."""
    try:
        return _workflows[workflow_id]
    except KeyError:
        raise UnknownWorkflow(workflow_id) from None


def registered_workflows() -> dict[str, Workflow]:
    """Every workflow this process knows, by id."""
    return dict(_workflows)


def _register(made: Workflow) -> None:
    workflow_id = made.workflow_id
    if not _WORKFLOW_ID.fullmatch(workflow_id) or len(workflow_id) > MAX_WORKFLOW_ID or workflow_id in (".", ".."):
        raise InvalidWorkflow(
            f"workflow id {workflow_id!r} cannot stand in a URL: use at most {MAX_WORKFLOW_ID} ASCII letters, digits "
            f"and -._~ characters, with @workflow(workflow_id=…)"
        )
    known = _workflows.get(workflow_id)
    if known is not None and _default_id(known.function) != _default_id(made.function):
        raise InvalidWorkflow(
            f"workflow id {workflow_id!r} is taken by {_default_id(known.function)}: "
            f"give {_default_id(made.function)} another one with @workflow(workflow_id=…)"
        )
    _workflows[workflow_id] = made


def _default_id(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}".replace(".<locals>", "")
