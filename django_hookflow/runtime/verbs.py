"""The verbs a workflow is written with. Each says what is asked of a step; when that is done is up to who is asked (:meth:`Verbs._ask`)."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django_hookflow.durations import Duration, checked_moment, checked_seconds, in_seconds, is_time_limit
from django_hookflow.events import types
from django_hookflow.exceptions import ChildTimedOut, SignalTimedOut
from django_hookflow.runtime import calls, children, offloading
from django_hookflow.runtime.attempts import StepRequest, perform
from django_hookflow.runtime.execution import Execution
from django_hookflow.runtime.retries import Retry
from django_hookflow.runtime.step import OnDoubt, Options, Recorded, StepOutcome, Todo
from django_hookflow.texts import checked_signal_name

if TYPE_CHECKING:
    from typing_extensions import Self

    from django_hookflow.registry import Workflow

T = TypeVar("T")

#: HTTP methods that change something on the other side (RFC 9110 §9.2.1 calls the others safe).
UNSAFE_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class _NoDefault:
    def __repr__(self) -> str:
        return "NO_DEFAULT"


NO_DEFAULT = _NoDefault()


class Verbs:
    """The kinds of steps. Each step ID may be used once per run."""

    def __init__(self, execution: Execution, options: Options) -> None:
        self._execution = execution
        self._options = options

    def run(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Calls ``fn(*args, **kwargs)`` and records its result; replays return the recorded result.

        ``fn`` runs at least once: a crash between its effect and the record runs it again. The result is JSON or one of
        the types :mod:`django_hookflow.events.codec` names. Raises WorkflowError when ``fn`` fails for good.
        """
        result: T = self._perform(step_id, "run", lambda: fn(*args, **kwargs), self._options)
        return result

    def atomic(self, step_id: str, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Like :meth:`run`, but in one transaction: the writes of ``fn`` and the recorded result commit together or not at all.

        The transaction is on the database that holds the log; ``fn``'s writes to others are not covered.
        """
        result: T = self._perform(step_id, "atomic", lambda: fn(*args, **kwargs), self._options)
        return result

    def call(
        self,
        step_id: str,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Sends an HTTP request and records the answer: ``{"status_code": int, "data": parsed JSON, text or None}``.

        A status of 400 or more fails the step; 5xx and 429 are tried again. Every attempt carries the same
        ``Idempotency-Key``; that one is about to be made is recorded first if the method changes something on the other
        side (POST, PUT, PATCH, DELETE). Request headers are never recorded.

        With ``options(offload=True)`` and the transport ``qstash``, QStash makes the request, and the turn ends until it
        reports the answer; one that is not there ``timeout`` and DJANGO_HOOKFLOW_OVERDUE_SECONDS later has failed. With
        other transports the turn makes it.
        """
        options = self._options
        if not isinstance(method, str):
            raise TypeError(f"step {step_id!r}: method must be text such as 'GET', not {method!r:.100}")
        if method.upper() in UNSAFE_METHODS and options.on_doubt is None:
            options = replace(options, on_doubt="retry")
        key = self.idempotency_key(step_id)

        def send() -> dict[str, Any]:
            return calls.request(url, method, body, headers, idempotency_key=key, timeout=options.timeout)

        if options.offload and offloading.is_possible():

            def begin(step: Todo) -> Callable[[], Any]:
                return offloading.work_of(step, partial(calls.asked_for, url, method, body, headers, key))

            offloaded: dict[str, Any] = self._ask(StepRequest(step_id, "call", options, begin))
            return offloaded
        result: dict[str, Any] = self._perform(step_id, "call", send, options)
        return result

    def sleep(self, step_id: str, seconds: Duration) -> None:
        """Sleeps for ``seconds``, or a ``timedelta``, without occupying a worker. The database's clock decides.

        Never earlier, unless somebody wakes it (``run.wake()``).
        """
        length = checked_seconds(f"step {step_id!r}: seconds", seconds)
        begin = partial(Todo.waiting, wait=types.SLEEP, seconds=length)
        return self._ask(StepRequest(step_id, types.SLEEP, self._options, begin))  # type: ignore[no-any-return]

    def sleep_until(self, step_id: str, moment: datetime.datetime) -> None:
        """Sleeps until ``moment`` by the database's clock; returns at once if that is in the past.

        Raises ValueError for a moment that has no time zone or is more than a hundred years away.
        """
        until = checked_moment(f"step {step_id!r}", moment)
        begin = partial(Todo.waiting, wait=types.SLEEP, until=until)
        return self._ask(StepRequest(step_id, types.SLEEP, self._options, begin))  # type: ignore[no-any-return]

    def wait_for_signal(
        self, step_id: str, name: str | None = None, timeout: Duration | None = None, default: Any = NO_DEFAULT
    ) -> Any:
        """Waits until the run receives the signal ``name``, by default the step ID, and returns its value.

        One that came before is taken at once: each signal is taken by one wait, in the order of the log. After ``timeout``
        seconds, by the database's clock, or that of ``options(timeout=…)``, the answer is ``default``; without one
        SignalTimedOut is raised.
        """
        name = checked_signal_name(step_id if name is None else name)
        seconds = self._options.timeout
        if timeout is not None:
            seconds = checked_seconds(f"step {step_id!r}: timeout", timeout)
        self._execution.journal.check_has_log("ctx.step.wait_for_signal")

        def outcome(step: Recorded) -> Any:
            if not step.record.is_timed_out:
                return step.value()
            if default is NO_DEFAULT:
                raise SignalTimedOut(step_id, name)
            return default

        return self._ask(
            StepRequest(step_id, types.SIGNAL, self._options, lambda step: step.signal(name, seconds), outcome)
        )

    def child(
        self,
        step_id: str,
        workflow: Workflow | str,
        data: dict[str, Any] | None = None,
        *,
        run_id: str | None = None,
        on_cancel: children.OnCancel = "cancel",
    ) -> Any:
        """Starts a run of ``workflow``, waits for it to end, and returns its result.

        The run begins in the commit with which this one begins to wait. Its failure, or that it was cancelled, is a
        WorkflowError that names it; with ``options(timeout=…)`` ChildTimedOut is raised then. When nothing waits for it any
        more (this run has ended, or was rewound to before the step, or the time was up) it is cancelled, unless
        ``on_cancel`` is ``"abandon"``. Its id is made of this run's and the step's; with a ``run_id`` of one's own, a run of
        that id which this step has started before is waited for, and any other is refused (ChildConflict).
        """
        self._execution.journal.check_has_log("ctx.step.child")

        def begin(step: Todo) -> StepOutcome:
            new = children.new_child(self._execution, step_id, workflow, data, run_id, on_cancel)
            return step.waiting(types.CHILD, self._options.timeout, new.run_id, new)

        def outcome(step: Recorded) -> Any:
            if step.record.is_timed_out:
                raise ChildTimedOut(step_id)
            return step.value()

        return self._ask(StepRequest(step_id, types.CHILD, self._options, begin, outcome))

    def options(
        self,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        on_doubt: OnDoubt | None = None,
        offload: bool = False,
    ) -> Self:
        """Returns the same steps with options for the next call: ``ctx.step.options(retry=Retry(max_attempts=5)).run(…)``.

        ``timeout``, in seconds or a ``timedelta``: a call gives up then, an async function is cancelled, and what a function
        returns later than that is refused and the attempt has failed (Python cannot stop a function, so it is not cut short;
        an atomic step's writes roll back).

        ``on_doubt``: record the intent before the step runs, and after a crash in it ``"retry"`` (with the same
        idempotency key), ``"ask"`` (the run is in doubt until ``run.resolve`` says what came of it), or call the function
        given, with the idempotency key, which returns the step's result or ``RETRY``.

        ``offload``: no process waits for the answer to a :meth:`call`, where the transport can see to that.
        """
        seconds = in_seconds(timeout)
        if seconds is not None and not is_time_limit(seconds):
            raise ValueError(
                "timeout must be a number of seconds or a timedelta, above 0 and at most ten years, not "
                f"{timeout!r:.100}"
            )
        if retry is not None and not hasattr(retry, "delay_after"):
            raise ValueError(f"retry must be a django_hookflow.Retry, not {retry!r:.100}")
        if on_doubt is not None and on_doubt not in ("retry", "ask") and not callable(on_doubt):
            raise ValueError(f"on_doubt must be 'retry', 'ask' or a callable, not {on_doubt!r}")
        if on_doubt not in (None, "retry"):
            self._execution.journal.check_has_log("on_doubt other than 'retry'")
        if not isinstance(offload, bool):
            raise ValueError(f"offload must be True or False, not {offload!r:.100}")
        if offload:
            self._execution.journal.check_has_log("options(offload=True)")
        return self._with(Options(retry or self._options.retry, seconds, on_doubt, offload))

    def idempotency_key(self, step_id: str) -> str:
        """A key that is the same for every attempt of this step: pass it to services that deduplicate requests."""
        return self._execution.idempotency_key(step_id)

    def check_has_log(self, what: str) -> None:
        """Raises NeedsLog for ``what`` in the stateless mode."""
        self._execution.journal.check_has_log(what)

    @property
    def execution(self) -> Execution:
        return self._execution

    @property
    def policy(self) -> Options:
        """That of the next step."""
        return self._options

    def _with(self, options: Options) -> Self:
        return type(self)(self._execution, options)

    def _perform(self, step_id: str, kind: str, work: Callable[[], Any], options: Options) -> Any:
        return self._ask(StepRequest(step_id, kind, options, work=work))

    def _ask(self, asked: StepRequest) -> Any:
        """Has what is asked of a step done at once, and returns what it came to."""
        return perform(self._execution, asked)
