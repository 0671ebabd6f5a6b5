"""Groups of steps: ``ctx.step.parallel`` and ``ctx.step.map``."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from django_hookflow.durations import Duration
from django_hookflow.exceptions import GroupNotEnded, HookFlowException, MisplacedStep
from django_hookflow.registry import Workflow
from django_hookflow.runtime import children
from django_hookflow.runtime.attempts import StepRequest
from django_hookflow.runtime.batch import Batch
from django_hookflow.runtime.execution import Execution
from django_hookflow.runtime.retries import Retry
from django_hookflow.runtime.step import OnDoubt, Options, StepOutcome
from django_hookflow.runtime.verbs import NO_DEFAULT, Verbs
from django_hookflow.texts import checked_step_id
from django_hookflow.wrappers import is_async

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")

#: What leaving a group does about steps that failed.
OnError = Literal["raise", "collect"]

#: Steps of a group whose work is done at once, unless ``max_workers`` says otherwise.
DEFAULT_WORKERS = 4
MOST_WORKERS = 64
#: Children that a map has running at once, unless ``max_workers`` says otherwise.
DEFAULT_CHILDREN = 1_000


class Handle(Generic[T]):
    """A step of a group, which has come to something once the group has ended."""

    def __init__(self, asked: StepRequest) -> None:
        self.asked = asked
        self.outcome: StepOutcome | None = None

    def result(self) -> T:
        """What the step returned. Raises what it would have raised alone, and GroupNotEnded inside the group's block."""
        if self.outcome is None:
            raise GroupNotEnded(self.asked.step_id)
        value: T = self.outcome.result()
        return value

    def __repr__(self) -> str:
        return f"<Handle of step {self.asked.step_id!r}>"


class _Notes:
    """What has been asked of a group's steps; no more is noted than while it ``is_open``."""

    def __init__(self, *, is_open: bool) -> None:
        self.handles: list[Handle[Any]] = []
        self.is_open = is_open


class _Noting(Verbs):
    """Notes what is asked of steps, and answers a handle instead of a result."""

    def __init__(self, execution: Execution, options: Options, notes: _Notes) -> None:
        super().__init__(execution, options)
        self.notes = notes

    def run(self, step_id: str, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        handle: Any = super().run(step_id, fn, *args, **kwargs)
        if is_async(fn):  # which an async workflow awaits itself, and so is to know
            handle.asked = replace(handle.asked, work=partial(fn, *args, **kwargs))
        return handle

    def _ask(self, asked: StepRequest) -> Any:
        step_id = checked_step_id(asked.step_id)
        if not self.notes.is_open:
            raise MisplacedStep(
                f"step {step_id!r}",
                "was added to a group outside its with block: use with ctx.step.parallel() as group",
            )
        self.notes.handles.append(handle := Handle[Any](asked))
        return handle

    def _with(self, options: Options) -> Self:
        return type(self)(self._execution, options, self.notes)


class Noted:
    """Steps that are noted for a group.

    Each method is that of ``ctx.step``, and answers a :class:`Handle`.
    """

    def __init__(self, steps: Verbs, max_workers: int | None, on_error: OnError) -> None:
        if on_error not in ("raise", "collect"):
            raise ValueError(f"ctx.step.parallel: on_error must be 'raise' or 'collect', not {on_error!r:.100}")
        self._verbs = _noting(steps, "ctx.step.parallel", is_open=False)
        self._max_workers = checked_workers(max_workers)
        self._on_error = on_error

    def run(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Handle[T]:
        handle: Any = self._verbs.run(step_id, fn, *args, **kwargs)
        return handle  # type: ignore[no-any-return]

    def atomic(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> Handle[T]:
        handle: Any = self._verbs.atomic(step_id, fn, *args, **kwargs)
        return handle  # type: ignore[no-any-return]

    def call(
        self,
        step_id: str,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Handle[dict[str, Any]]:
        handle: Any = self._verbs.call(step_id, url, method, body, headers)
        return handle  # type: ignore[no-any-return]

    def sleep(self, step_id: str, seconds: Duration) -> Handle[None]:
        handle: Any = self._verbs.sleep(step_id, seconds)  # type: ignore[func-returns-value]
        return handle  # type: ignore[no-any-return]

    def sleep_until(self, step_id: str, moment: datetime.datetime) -> Handle[None]:
        handle: Any = self._verbs.sleep_until(step_id, moment)  # type: ignore[func-returns-value]
        return handle  # type: ignore[no-any-return]

    def wait_for_signal(
        self, step_id: str, name: str | None = None, timeout: Duration | None = None, default: Any = NO_DEFAULT
    ) -> Handle[Any]:
        handle: Handle[Any] = self._verbs.wait_for_signal(step_id, name, timeout, default)
        return handle

    def child(
        self,
        step_id: str,
        workflow: Workflow | str,
        data: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_cancel: children.OnCancel = "cancel",
    ) -> Handle[Any]:
        handle: Handle[Any] = self._verbs.child(step_id, workflow, data, run_id=run_id, on_cancel=on_cancel)
        return handle

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        on_doubt: OnDoubt | None = None,
        offload: bool = False,
    ) -> Self:
        """The same group with a policy for the next call, as ``ctx.step.options``."""
        group = copy(self)
        group._verbs = self._verbs.options(  # noqa: SLF001 of a copy of this one
            retry=retry, timeout=timeout, on_doubt=on_doubt, offload=offload
        )
        return group

    def _open(self) -> None:
        notes = self._verbs.notes
        if notes.is_open or notes.handles:
            raise HookFlowException("a group can only be entered once: create another one with ctx.step.parallel()")
        notes.is_open = True


class Group(Noted):
    """Steps that run at once: ``with ctx.step.parallel() as group``. Nothing begins before the block ends."""

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._verbs.notes.is_open = False
        if kind is None:
            settle(self._verbs.execution, self._verbs.notes.handles, self._max_workers, self._on_error)


def map_items(
    steps: Verbs,
    step_id: str,
    work: Callable[[Any], Any] | Workflow,
    items: Iterable[Any],
    key: Callable[[Any], Any] | None,
    max_workers: int | None,
) -> list[Any]:
    """As :meth:`.steps.StepManager.map`."""
    handles, most = note_items(steps, step_id, work, items, key, max_workers)
    if isinstance(work, Workflow):
        settle(steps.execution, handles, 1, "raise", most)
    else:
        settle(steps.execution, handles, most, "raise")
    return [handle.result() for handle in handles]


def note_items(
    steps: Verbs,
    step_id: str,
    work: Callable[[Any], Any] | Workflow,
    items: Iterable[Any],
    key: Callable[[Any], Any] | None,
    max_workers: int | None,
) -> tuple[list[Handle[Any]], int]:
    """A step for each item, and how many of them may be under way at once."""
    noting = _noting(steps, "ctx.step.map", is_open=True)
    ids: set[str] = set()
    for number, item in enumerate(items):
        name = f"{checked_step_id(step_id)}[{number if key is None else key(item)}]"
        if name in ids:
            raise ValueError(f"step {step_id!r}: two items have the key {name[len(step_id) + 1 : -1]!r:.100}")
        ids.add(name)
        if isinstance(work, Workflow):
            noting.child(name, work, item)
        else:
            noting.run(name, work, item)
    if isinstance(work, Workflow):
        return noting.notes.handles, checked_workers(max_workers, DEFAULT_CHILDREN, most=None)
    return noting.notes.handles, checked_workers(max_workers)


def settle(
    execution: Execution,
    handles: list[Handle[Any]],
    max_workers: int,
    on_error: OnError,
    max_children: int | None = None,
) -> None:
    """Has all that was noted done at once; raises the first failure, in the order in which it was asked for."""
    if not handles:
        return
    batch = Batch(execution, handles[0].asked.step_id, max_workers, max_children)
    for handle, outcome in zip(handles, batch.perform([handle.asked for handle in handles]), strict=True):
        handle.outcome = outcome
    if on_error == "raise":
        for handle in handles:
            handle.result()


def checked_workers(number: Any, default: int = DEFAULT_WORKERS, most: int | None = MOST_WORKERS) -> int:
    if number is None:
        return default
    if type(number) is not int or number < 1 or (most is not None and number > most):
        reach = "of at least 1" if most is None else f"from 1 to {most}"
        raise ValueError(f"max_workers must be a whole number {reach}, not {number!r:.100}")
    return number


def _noting(steps: Verbs, what: str, *, is_open: bool) -> _Noting:
    steps.check_has_log(what)
    return _Noting(steps.execution, steps.policy, _Notes(is_open=is_open))
