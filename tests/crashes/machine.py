"""Random schedules: everything that can happen to runs, in any order, with the invariants checked after every move.

Hypothesis draws the moves in one thread, and what it may draw never depends on how things stand: where two things happen
at once, what comes of it is up to the moment. Such a failure may not come back when it is tried again, but its log is in
the message.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal
from uuid import UUID

from django.db import DatabaseError, connection
from django.db.models import QuerySet
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from django_hookflow.delivery import outbox
from django_hookflow.delivery.relay import Relay
from django_hookflow.exceptions import OperationRefused
from django_hookflow.models import DeadLetterEntry, OutboxMessage, StepExecution, Wait, WorkflowEvent, WorkflowRun
from django_hookflow.registry import Workflow
from django_hookflow.runtime.receiving import receive
from django_hookflow.runtime.turn import TurnResult, beginning, end_overdue, run_turn
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.invariants import result_from_record, uid_of_next_millisecond, violations
from tests.crashes.offloads import Offloads
from tests.crashes.plans import SIGNAL, plan, plan_at_once, plan_in_group, plans, timed_plan
from tests.crashes.wire import Side
from tests.crashes.workers import Crash, Stall, Worker, WorkerDied, begin_together
from tests.testapp.models import LedgerEntry

MAX_RUNS = 3
#: Seconds by which time moves at the end of a schedule: past every sleep, retry, lease and overdue message.
LONG = 700
ANSWERS = {"completed", "failed", "suspended", "finished", "stale", "busy", "early", "lost"}

LIVING = ("pending", "running")
#: How a run stands for which an operation makes sense.
FITTING = {"cancel": (*LIVING, "paused", "in_doubt"), "pause": LIVING, "resume": ("paused",)}

which = st.integers(0, MAX_RUNS)
in_time = st.sampled_from([True, True, False])
statement = st.integers(0, 4)
Clicks = Literal["once", "twice", "at once", "during a delivery"]
clicks: st.SearchStrategy[Clicks] = st.sampled_from(["once", "twice", "at once", "during a delivery"])


class Schedules(RuleBasedStateMachine):
    """One schedule. ``hookflow``, ``workers`` and ``offloads`` are set by the test that runs it."""

    hookflow: Hookflow
    workers: list[Worker]
    offloads: Offloads
    #: What all schedules together have done.
    tally: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.first_uid = uid_of_next_millisecond()
        self.ledger = max(LedgerEntry.objects.order_by("-pk").values_list("pk", flat=True)[:1], default=0)
        self.stalled: tuple[Stall, Future[Any]] | None = None
        self.runs: list[WorkflowRun] = []
        self.sent = 0

    # What happens to runs.

    @initialize(plan_of=plans, transport=st.sampled_from(["qstash", "qstash", "inline"]))
    def begin(self, plan_of: list[Any], transport: str) -> None:
        """With ``inline`` the turn makes the request of a call itself."""
        self.offloads.begin(transport)
        self._trigger(plan, plan_of)

    @rule(plan_of=plans, workflow=st.sampled_from([plan, timed_plan, plan_at_once, plan_in_group]))
    def trigger(self, plan_of: list[Any], workflow: Workflow) -> None:
        if len(self.runs) < MAX_RUNS:
            self._trigger(workflow, plan_of)

    @rule(which=which, in_time=in_time)
    def deliver(self, which: int, in_time: bool) -> None:
        self._deliver(*self._message(which, in_time))

    @rule(which=which, seq=st.integers(0, 12))
    def deliver_another_message(self, which: int, seq: int) -> None:
        """An old one, one that never was, a duplicate, or the end of the run's time."""
        run = self._run(which)
        if seq:
            self._deliver(run, seq)
        else:
            self._count(end_overdue(run.workflow_id, run.run_id))

    @rule(which=which, at=statement, side=st.sampled_from(["before", "after"]), dies=st.booleans())
    def deliver_and_crash(self, which: int, at: int, side: Side, dies: bool) -> None:
        crash, message = Crash(at, side, dies), self._message(which, in_time=True)
        try:
            with connection.execute_wrapper(crash):
                self._deliver(*message)
        except (WorkerDied, DatabaseError):
            assert crash.happened
        self.tally["crashes"] += crash.happened
        connection.close_if_unusable_or_obsolete()

    @rule(at=statement, side=st.sampled_from(["before", "after"]), dies=st.booleans())
    def relay_and_crash(self, at: int, side: Side, dies: bool) -> None:
        """A relay that begins all that is due as it takes it is lost with the rest in one of the turns."""
        crash = Crash(at, side, dies)
        try:
            with connection.execute_wrapper(crash):
                self._relay_by_hand()
        except (WorkerDied, DatabaseError):
            assert crash.happened
        self.tally["crashes"] += crash.happened
        connection.close_if_unusable_or_obsolete()

    @rule(which=which, other=which)
    def deliver_at_once(self, which: int, other: int) -> None:
        """The same message twice, or those of two runs."""
        self._at_once(self._delivery(which), self._delivery(other))

    @rule(which=which, at=statement)
    def deliver_and_stall(self, which: int, at: int) -> None:
        """A worker stops in mid-turn; the one that has been standing so far goes on."""
        self._wake()
        stall, deliver = Stall(at), self._delivery(which)

        def work() -> TurnResult:
            with connection.execute_wrapper(stall):
                return deliver()

        future = self.workers[2].begin(work)
        future.add_done_callback(lambda _: stall.stands.set())
        assert stall.stands.wait(60), "a worker neither stalls nor ends"
        self.stalled = stall, future
        self.tally["stalls"] += not future.done()

    @rule(threads=st.sampled_from([0, 0, 0, 2]))
    def relay_pass(self, threads: int) -> None:
        """The relay, or the two steps it takes, without its threads: their sessions take more time than all the rest."""
        if threads:
            Relay("inline", receive, concurrency=threads, beginning=beginning).run_once()
        else:
            self._relay_by_hand()
        self.tally["relay passes"] += 1

    @rule()
    def wake_stalled_worker(self) -> None:
        self._wake()

    @rule(seconds=st.sampled_from([1, 10, 30, 61, LONG]))
    def time_passes(self, seconds: int) -> None:
        self.hookflow.advance(seconds)

    @rule(which=which, action=st.sampled_from(["cancel", "pause", "resume", "pause", "resume"]), clicks=clicks)
    def operate(self, which: int, action: str, clicks: Clicks) -> None:
        run_uid = self._run(which, *FITTING[action]).run_uid

        def click() -> None:
            getattr(WorkflowRun.objects.get(pk=run_uid), action)(actor="operator", reason="because")

        self._click(click, clicks, which)

    @rule(which=which, id=st.sampled_from([None, None, "a", "b"]), clicks=clicks)
    def signal(self, which: int, id: str | None, clicks: Clicks) -> None:
        run_uid = self._run(which, *LIVING).run_uid
        self.sent += 1
        value = self.sent

        def click() -> None:
            is_new = WorkflowRun.objects.get(pk=run_uid).signal(SIGNAL, value, id=id, actor="somebody")
            self.tally["signals" if is_new else "signals sent again"] += 1

        self._click(click, clicks, which)

    @rule(number=st.integers(0, 3), status=st.sampled_from([200, 200, 200, 500, 404]), clicks=clicks)
    def report(self, number: int, status: int, clicks: Clicks) -> None:
        """QStash reports what a call that it made came to, the latest ones first: in time or not, and as often as it likes."""
        if key := self.offloads.choose(number):
            self._click(lambda: self._report_answer(key, status), clicks, number)

    @rule(number=st.integers(0, 3), at=statement, side=st.sampled_from(["before", "after"]), dies=st.booleans())
    def report_and_crash(self, number: int, at: int, side: Side, dies: bool) -> None:
        key = self.offloads.choose(number)
        if key is None:
            return
        crash = Crash(at, side, dies)
        with suppress(WorkerDied), connection.execute_wrapper(crash):
            self._report_answer(key, 200)
        self.tally["crashes"] += crash.happened
        connection.close_if_unusable_or_obsolete()

    @rule(number=st.integers(0, 3))
    def lose_report(self, number: int) -> None:
        self.offloads.lose(number)

    @rule(which=which, step=st.integers(0, 3), clicks=clicks)
    def rewind(self, which: int, step: int, clicks: Clicks) -> None:
        run_uid = self._run(which).run_uid
        taken = list(StepExecution.objects.filter(workflow_run=run_uid).values_list("step_id", flat=True))
        to_step = taken[step % len(taken)] if taken else "nothing"

        def click() -> None:
            WorkflowRun.objects.get(pk=run_uid).rewind(to_step=to_step, actor="operator")

        self._click(click, clicks, which)

    @rule(which=which, from_start=st.sampled_from([False, False, True]), clicks=clicks)
    def repair(self, which: int, from_start: bool, clicks: Clicks) -> None:
        """An operator settles a doubt or replays a dead letter, be it an old one; what makes no sense is refused."""
        run = self._run(which, "in_doubt", "failed")
        run_uid, doubted = run.run_uid, self._doubted(run.run_uid)
        entry = DeadLetterEntry.objects.filter(run_uid=run_uid).order_by("seq").last()

        def click() -> None:
            if entry is not None and run.status != "in_doubt":
                DeadLetterEntry.objects.get(pk=entry.pk).replay(from_start=from_start, actor="operator")
            else:
                WorkflowRun.objects.get(pk=run_uid).resolve(doubted, result="settled", actor="operator")

        self._click(click, clicks, which)

    # What must be true all the while, and what they come to.

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.runs = list(self._all_runs().order_by("pk"))
        found = violations(self.first_uid, self.ledger)
        assert not found, self._report(found)
        self.tally["moves"] += 1

    def teardown(self) -> None:
        failed = isinstance(sys.exc_info()[1], Exception)
        try:
            self._end(failed)
        finally:
            self.offloads.end()

    def _end(self, failed: bool) -> None:
        self._wake()
        self.tally["schedules"] += 1
        if failed:
            self._abandon()
            return
        self._settle()
        self.nothing_is_wrong()
        for _ in range(30):  # each step may fail for good four times
            if not self._unblock():
                break
            self._settle()
        self.nothing_is_wrong()
        self._check_ends()
        found = self.offloads.problems(self._all_runs())
        found += [problem for run in self._all_runs() for problem in evidence_against(run)]
        assert not found, self._report(found)
        self.tally["runs"] += len(self.runs)

    def _wake(self) -> None:
        if self.stalled is not None:
            (stall, future), self.stalled = self.stalled, None
            stall.let_go()
            self._count(future.result())

    def _settle(self) -> None:
        """Time and relays alone: every run ends or stands visibly waiting."""
        for _ in range(40):
            for key in self.offloads.outstanding():
                self._report_answer(key, 200)
            self.hookflow.advance(LONG)
            if not self._relay_by_hand():
                break
        stuck = list(self._all_runs().filter(status__in=["pending", "running"]).exclude(waits__kind="child"))
        assert not stuck, self._report([f"{run.run_id} is stuck" for run in stuck])

    def _relay_by_hand(self) -> int:
        due = outbox.take_due(100, beginning=beginning("inline"))
        for message in due:
            self._count(receive(message.kind, message.workflow_id, message.run_id, message.seq, claim=message.claim))
        return len(due)

    def _unblock(self) -> bool:
        """Does what an operator would about runs that wait for one; whether there were any."""
        waiting = [run for run in self._all_runs() if run.status in ("paused", "in_doubt")]
        # A run whose time is up may be replayed, and fails at once: its deadline holds.
        dead = list(
            DeadLetterEntry.objects.filter(run_uid__gte=self.first_uid, is_replayed=False).exclude(
                error_type="RunTimedOut"
            )
        )
        for run in waiting:
            if run.status == "paused":
                run.resume(actor="operator")
            else:
                run.resolve(self._doubted(run.run_uid), result="settled", actor="operator")
        for entry in dead:
            entry.replay(actor="operator")
        return bool(waiting or dead)

    def _check_ends(self) -> None:
        restarted = {
            e.workflow_run_id
            for e in WorkflowEvent.objects.filter(type="run.restarted", workflow_run__gte=self.first_uid)
        }
        for run in self._all_runs():
            ended = run.status in ("completed", "cancelled") or (
                run.status == "failed" and (run.pk in restarted or run.error_type == "RunTimedOut")
            )
            assert ended, self._report([f"{run.run_id} has not ended, it is {run.status}"])
            if run.status == "completed":
                expected = result_from_record(run)
                assert run.result == expected, self._report(
                    [f"{run.run_id} returned {run.result}, its steps {expected}"]
                )

    # How it is done.

    def _trigger(self, workflow: Workflow, plan_of: list[Any]) -> None:
        workflow.trigger({"steps": plan_of, "url": self.offloads.url})

    def _run(self, which: int, *statuses: str) -> WorkflowRun:
        """A run, one that stands as one of ``statuses`` if there is any, so that most moves move something."""
        fitting = [run for run in self.runs if run.status in statuses] or self.runs
        return fitting[which % len(fitting)]

    def _message(self, which: int, in_time: bool) -> tuple[WorkflowRun, int]:
        """What a run has announced; the first message again if it has announced nothing. ``in_time``: when it is due."""
        run = self._run(which, *LIVING)
        announced = OutboxMessage.objects.filter(run_uid=run.run_uid, kind="turn").first()
        if announced is not None and in_time:
            self._wait_for(announced)
        return run, announced.seq if announced else 1

    def _wait_for(self, announced: OutboxMessage) -> None:
        with connection.cursor() as c:
            c.execute("SELECT extract(epoch FROM %s::timestamptz - hookflow_now())::float8", [announced.due_at])
            wait = c.fetchone()[0] or 0
        if wait > 0:
            self.hookflow.advance(wait)

    def _delivery(self, which: int, in_time: bool = True) -> Callable[[], TurnResult]:
        run, seq = self._message(which, in_time)
        return lambda: run_turn(run.workflow_id, run.run_id, seq)

    def _deliver(self, run: WorkflowRun, seq: int) -> None:
        self._count(run_turn(run.workflow_id, run.run_id, seq))

    def _count(self, result: Any) -> None:
        if isinstance(result, TurnResult):
            assert result.answer in ANSWERS, result
            self.tally[f"answered {result.answer}"] += 1

    def _at_once(self, *works: Callable[[], Any]) -> None:
        for result in begin_together(self.workers[: len(works)], list(works)):
            self._count(result)
        self.tally["at once"] += 1

    def _click(self, click: Callable[[], None], clicks: Clicks, which: int) -> None:
        def careful() -> None:
            try:
                click()
                self.tally["operations"] += 1
            except OperationRefused:
                self.tally["refused operations"] += 1

        if clicks == "at once":
            self._at_once(careful, careful)
        elif clicks == "during a delivery":
            self._at_once(self._delivery(which), careful)
        else:
            for _ in range(2 if clicks == "twice" else 1):
                careful()

    def _report_answer(self, key: str, status: int) -> None:
        self.tally[f"reports {self.offloads.report(key, status)}"] += 1

    def _doubted(self, run_uid: UUID) -> str:
        doubt = Wait.objects.filter(run=run_uid, kind="doubt").first()
        return doubt.step_id if doubt else "nothing"

    def _all_runs(self) -> Any:
        return WorkflowRun.objects.filter(pk__gte=self.first_uid)

    def _abandon(self) -> None:
        """Leaves nothing that a later schedule would trip over."""
        QuerySet(OutboxMessage).filter(run_uid__gte=self.first_uid).delete()

    def _report(self, found: list[str]) -> str:
        """What is wrong, and the logs of the schedule's runs."""
        lines = list(found)
        for run in self._all_runs():
            lines.append(f"{run.run_id} {run.workflow_id} {run.status} {run.data}")
            lines += [
                f"   {e.seq} {e.type} {e.step_id or ''} {str(e.facts)[:160]} {str(e.payload)[:80]}"
                for e in WorkflowEvent.objects.filter(workflow_run=run.run_uid).order_by("seq")
            ]
        return "\n".join(lines)
