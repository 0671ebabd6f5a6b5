"""A kit for tests of workflows: run them to their end without network and without waiting.

::

    from django_hookflow.testing import Hookflow

    class OrderTests(TestCase):
        def test_order(self):
            with Hookflow() as hookflow:
                run = hookflow.run(process_order, {"order_id": "1"})
                self.assertEqual(run.status, "completed")

Within the context no message leaves the process: :meth:`Hookflow.deliver` is the delivery, as often and in whatever
order a test likes, and :meth:`Hookflow.advance` moves time, for SQL and Python together. Steps can be stubbed by id
(:meth:`Hookflow.stub`) and their worker lost before or after their work (:meth:`Hookflow.crash`). The log, the
projections and the effects of steps are real and in the test's database. Under pytest the fixture ``hookflow`` is the
same thing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from django.test import TestCase, override_settings

from django_hookflow import sealing, wrappers
from django_hookflow.clock import clock
from django_hookflow.conf import conf, is_stateless
from django_hookflow.events import codec, log
from django_hookflow.events.database import cursor, log_connection
from django_hookflow.events.log import NewEvent
from django_hookflow.events.types import CHILD, RUN_COMPLETED, RUN_FAILED, STEP_COMPLETED, TURN_STARTED
from django_hookflow.models import Lease, OutboxMessage, Wait, WorkflowEvent, WorkflowRun
from django_hookflow.registry import Workflow, forget_local_workflows, registered_workflows
from django_hookflow.runtime import failures
from django_hookflow.runtime.joining import hand_on
from django_hookflow.runtime.postbox import Postbox
from django_hookflow.runtime.step import cause_of, facts_of_completion, payload_of
from django_hookflow.runtime.trigger import trigger
from django_hookflow.runtime.turn import TurnResult, run_turn
from django_hookflow.test_environment import is_test_database
from django_hookflow.wrappers import Work, WorkerGone

__all__ = ["Hookflow", "NotATestDatabase", "NotEnding"]

_NOW = "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ {} $$"
_PRESENT = "SELECT clock_timestamp()"
_IS_MOVED = "SELECT FROM pg_proc WHERE oid = to_regproc('hookflow_now') AND btrim(prosrc) <> %s"


class NotATestDatabase(AssertionError):
    """Refuses to change the clock of a database that is not a test database."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"refusing to change the clock of the database {name!r}, because that would affect all its users: it is "
            "only changed under Django's test runner or pytest-django, in a test database they created or one set as "
            "TEST NAME in DATABASES"
        )


class NotEnding(AssertionError):
    """A run did not end within the given number of turns."""


@dataclass
class _Substitute:
    """What is answered instead of a step's work, or when and how often the worker is to be lost in it."""

    answer: Callable[[], Any] | None = None
    when: str = ""
    times: int = 0

    def lose(self, when: str) -> None:
        if self.when == when and self.times > 0:
            self.times -= 1
            raise WorkerGone


class Hookflow:
    """Controls deliveries and time in a test."""

    def __init__(self) -> None:
        self._substitutes: dict[str, _Substitute] = {}

    def __enter__(self) -> Hookflow:
        self._postbox = Postbox() if is_stateless() else None
        self._settings = override_settings(
            DJANGO_HOOKFLOW_TRANSPORT="inline" if self._postbox is None else "qstash",
            DJANGO_HOOKFLOW_DOMAIN=conf.domain or "http://testserver",
            QSTASH_TOKEN=conf.qstash_token or "of-a-test",
        )
        self._settings.enable()
        self._known = registered_workflows()
        wrappers.innermost.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._settings.disable()
        forget_local_workflows(self._known)
        wrappers.innermost.remove(self)
        if clock.offset:
            clock.offset = 0.0
            if self._postbox is None:
                _replace_now(log_connection(), _PRESENT)

    def run(self, workflow: Workflow, data: dict[str, Any] | None = None, run_id: str | None = None) -> WorkflowRun:
        """Triggers ``workflow`` and delivers its messages, skipping sleeps and retry delays, until the run ends or waits.

        In the stateless mode the run is a plain object with its outcome, and is in no database.
        """
        with TestCase.captureOnCommitCallbacks(execute=True) if self._postbox else nullcontext():
            run_id = workflow.trigger(data, run_id)
        return self.drive(run_id)

    def make_run(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        status: Literal["pending", "running", "completed", "failed", "cancelled", "paused"] = "completed",
        data: dict[str, Any] | None = None,
        steps: Mapping[str, Any] | None = None,
        result: Any = None,
        error: Exception | None = None,
    ) -> WorkflowRun:
        """Creates a run in the log without running any code, for tests of code that reads runs.

        ``steps`` are the results of completed steps by id. A ``completed`` run has ``result``, a ``failed`` one the
        ``error`` of its dead letter.
        """
        run = WorkflowRun.objects.get(run_id=trigger(workflow_id, data, run_id))
        events = [] if status == "pending" and not steps else [NewEvent(TURN_STARTED)]
        for step_id, value in (steps or {}).items():
            facts = facts_of_completion("run", 1, 0.0)
            events.append(NewEvent(STEP_COMPLETED, step_id, facts, _recorded(run, value, step_id)))
        if status == "completed":
            events.append(NewEvent(RUN_COMPLETED, payload=_recorded(run, result, "result")))
        elif status == "failed":
            failure = failures.describe(error or Exception("made by a test"))
            facts = json.dumps({"attempts": 1, **cause_of(failure, None)})
            events.append(NewEvent(RUN_FAILED, None, facts, payload_of(failure)))
        if events:
            log.append(run.run_uid, None, events, ends_turn=status in ("completed", "failed"))
        if status == "cancelled":
            run.cancel()
        elif status == "paused":
            run.pause()
        run.refresh_from_db()
        return run

    def drive(self, run_id: str, *, turns: int = 100) -> WorkflowRun:
        """Delivers the messages of a run until there are no more. Raises NotEnding after ``turns`` turns."""
        if self._postbox is not None:
            for _ in range(turns):
                run = self._postbox.deliver(run_id)
                if self._postbox.is_empty_for(run_id):
                    return run
            raise NotEnding(f"run {run_id!r} has not ended after {turns} turns")
        for _ in range(turns):
            self._drive_children(run_id, turns)
            announced = self.announced(run_id)
            run = WorkflowRun.objects.get(run_id=run_id)
            if announced is None or (announced.due_at and run.wake_at is None):  # then its deadline is all that comes
                return run
            self._advance_to(announced)
            self.deliver(run_id)
        raise NotEnding(f"run {run_id!r} has not ended after {turns} turns: {WorkflowRun.objects.get(run_id=run_id)}")

    def deliver(self, run_id: str, seq: int | None = None) -> TurnResult:
        """Delivers the pending message of a run, or the one of ``seq``, even if it is old or a duplicate.

        The answer is ``crashed`` when a worker was lost in it, as :meth:`crash` asked.
        """
        run = WorkflowRun.objects.get(run_id=run_id)
        if seq is None:
            announced = self.announced(run_id)
            seq = announced.seq if announced else 1
        try:
            result = run_turn(run.workflow_id, run_id, seq, delivery={"message_id": "test"})
        except WorkerGone:
            return TurnResult("crashed")
        hand_on(run.run_uid)  # in a test's transaction nothing is done after a commit
        return result

    def stub(self, step_id: str, result: Any = None, *, raises: Exception | None = None) -> None:
        """Makes the step ``step_id`` return ``result``, or raise, without doing its work; the outcome is still recorded."""

        def answer() -> Any:
            if raises is not None:
                raise raises
            return result

        self._substitutes[step_id] = _Substitute(answer)

    def crash(self, step_id: str, when: Literal["before", "after"] = "after", times: int = 1) -> None:
        """Simulates a lost worker in the step ``step_id``, before or after its work but before its result is recorded.

        The lease runs on, as after kill -9: :meth:`drive` waits for it, :meth:`deliver` finds the run ``busy`` until then.
        """
        self._substitutes[step_id] = _Substitute(when=when, times=times)

    def signal(
        self, run_id: str, name: str, value: Any = None, *, id: str | None = None, actor: str | None = None
    ) -> WorkflowRun:
        """Sends a signal to a run, then delivers until the run ends or waits again, see :meth:`drive`.

        To send one to a wait with a timeout, let the run get there with :meth:`deliver`: :meth:`run` and :meth:`drive` move
        time over it.
        """
        WorkflowRun.objects.get(run_id=run_id).signal(name, value, id=id, actor=actor)
        return self.drive(run_id)

    def step(self, work: Work, call: Callable[[], Any]) -> Any:
        """What is put around the work of each step, see :mod:`django_hookflow.wrappers`: a stub or a crash, if it has one."""
        with self._substitute_of(work) as answer:
            return (answer or call)()

    async def astep(self, work: Work, call: Callable[[], Awaitable[Any]]) -> Any:
        """The same around a step that is awaited."""
        with self._substitute_of(work) as answer:
            return await call() if answer is None else answer()

    def send(self, work: Work, call: Callable[[], Any]) -> Any:
        """What is put around sending: in the stateless mode a message is kept, to be delivered by hand."""
        return call() if self._postbox is None else self._postbox.keep(work.message)

    def history(self, run_id: str) -> list[str]:
        """Returns one line per event of the run, such as ``step.completed charge``, without the events of turns."""
        events = [event for event in self.events(run_id) if not event.type.startswith("turn.")]
        return [f"{event.type} {event.step_id}" if event.step_id else event.type for event in events]

    def announced(self, run_id: str) -> OutboxMessage | None:
        """Returns the pending message of a run, or None."""
        run = WorkflowRun.objects.get(run_id=run_id)
        return OutboxMessage.objects.filter(run_uid=run.run_uid, kind="turn").first()

    def events(self, run_id: str) -> list[WorkflowEvent]:
        """Returns the events of a run, in order."""
        return list(WorkflowEvent.objects.filter(workflow_run__run_id=run_id).order_by("seq"))

    def advance(self, seconds: float) -> None:
        """Moves the clock of the database and of this process forward. Raises NotATestDatabase outside a test database."""
        connection = log_connection()
        if not is_test_database(connection):
            raise NotATestDatabase(connection.settings_dict["NAME"])
        clock.offset += seconds
        _replace_now(connection, f"SELECT clock_timestamp() + interval '{clock.offset!r} seconds'")

    @contextmanager
    def _substitute_of(self, work: Work) -> Iterator[Callable[[], Any] | None]:
        """In which the work is done, or what is to be answered instead."""
        substitute = self._substitutes.get(work.step_id or "", _Substitute())
        substitute.lose("before")
        yield substitute.answer
        substitute.lose("after")

    def _drive_children(self, run_id: str, turns: int) -> None:
        """Delivers what the runs have announced that this one waits for."""
        while awaited := list(Wait.objects.filter(run__run_id=run_id, kind=CHILD).values_list("step_id", flat=True)):
            children = WorkflowRun.objects.filter(parent__run_id=run_id, parent_step__in=awaited, completed_at=None)
            before = [child.run_id for child in children.order_by("created_at")]
            for child_id in before:
                self.drive(child_id, turns=turns)
            ended = WorkflowRun.objects.filter(parent__run_id=run_id, completed_at__isnull=False).values("pk")
            for message in list(OutboxMessage.objects.filter(kind="ended", run_uid__in=ended)):
                hand_on(message.run_uid)
            if not children.exclude(run_id__in=before).exists():  # of one that goes on as another there is a next
                return

    def _advance_to(self, announced: OutboxMessage) -> None:
        """Moves time to when the turn is due and no lease stands in its way."""
        lease = Lease.objects.filter(run_uid=announced.run_uid).first()
        moments = [announced.due_at, lease.expires_at if lease else None]
        ready_at = max((moment for moment in moments if moment is not None), default=None)
        with cursor() as c:
            c.execute("SELECT extract(epoch FROM %s::timestamptz - hookflow_now())", [ready_at])
            wait = float(c.fetchone()[0] or 0)
        if wait > 0:
            self.advance(wait)


def _recorded(run: WorkflowRun, value: Any, name: str) -> str:
    return f'{{"result":{sealing.seal(run.run_uid, codec.encode(value, path=name, limit=conf.max_payload_size))}}}'


#: Databases in which this process has seen that time began at the present.
_looked_at: set[str] = set()


def restore_clock(connection: Any) -> None:
    """Has time begin at the present in a test's database where another process, killed since, had moved it.

    That is looked at once a process: what is moved afterwards, it has moved itself.
    """
    name = connection.settings_dict["NAME"]
    if name in _looked_at or not is_test_database(connection):
        return
    _looked_at.add(name)
    with connection.cursor() as c:
        c.execute(_IS_MOVED, [_PRESENT])
        is_moved = c.fetchone() is not None
    if is_moved:
        _replace_now(connection, _PRESENT)


def _replace_now(connection: Any, body: str) -> None:
    with connection.cursor() as c:
        c.execute(_NOW.format(body))
