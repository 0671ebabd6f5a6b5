"""A crash at every statement of a call that QStash makes: of the turns, of what takes the report, of a cancellation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.models import Lease, OutboxMessage, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.outside import PaymentService
from tests.crashes.stage import SIDES, Stage
from tests.crashes.wire import Cut, Wire
from tests.delivery.servers import Request
from tests.runtime.offloading import Offloader, make, report, running_offloader

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)

#: What becomes of the report on the first request: it comes, once or again and again, or after the step's time is up, or
#: after the run was cancelled.
Report = Literal["in time", "again and again", "late", "cancelled"]

#: What the reports come to when nothing is cut.
COMES_TO: dict[Report, set[str]] = {
    "in time": {"recorded"},
    "again and again": {"recorded", "stale", "finished"},
    "late": {"recorded", "stale"},
    "cancelled": {"finished"},
}


@workflow(workflow_id="tests.crashes.offloaded", retry=Retry(max_attempts=6, first_delay=5, factor=1, jitter=0))
def offloaded(ctx: WorkflowContext) -> Any:
    body = {"run": ctx.run_id, "amount": 5, "nonce": "n"}
    with ctx.step.parallel(max_workers=1) as group:
        group.run("beside", lambda: 1)
        asked = group.options(offload=True, timeout=30).call("grouped", ctx.data["payments"], "POST", body)
    alone = ctx.step.options(offload=True, timeout=30).call("alone", ctx.data["payments"], "POST", body)
    return [asked.result()["data"], alone["data"]]


class QStash:
    """Makes each request that was handed over once, and reports on it until the app has taken the report."""

    def __init__(self, stage: Stage, offloader: Offloader, when: Report) -> None:
        self.stage, self.offloader, self.when = stage, offloader, when
        self._answers: dict[str, dict[str, Any]] = {}
        self._taken: set[str] = set()
        #: What came of the reports, in order.
        self.came_to: list[str] = []

    def begin(self) -> None:
        self.offloader.server.received.clear()
        self.came_to.clear()

    def report_all(self, run: WorkflowRun) -> None:
        requests = {each.headers["Upstash-Deduplication-Id"]: each for each in self.offloader.published}
        for number, (key, published) in enumerate(requests.items()):
            said = self._answers[key] = self._answers.get(key) or make(published)
            is_late = self.when == "late" and number == 0 and len(requests) == 1
            is_early = self.when == "cancelled" and not run.completed_at
            is_done = key in self._taken and not (self.when == "again and again" and run.completed_at)
            if is_late or is_early or is_done:
                continue
            for _ in range(2):  # it is reported again if the app could not take it, or if the sender likes to
                if key not in self._taken or self.when == "again and again":
                    self.stage.attempt(lambda: self._report(key, published, said))  # noqa: B023 - it is called at once

    def _report(self, key: str, published: Request, said: dict[str, Any]) -> None:
        response = report(published, said)
        assert response.status_code in (200, 503), response.content
        if response.status_code == 200:
            self._taken.add(key)
            self.came_to.append(response.json()["status"])


def play(stage: Stage, cut: Cut | None, qstash: QStash, url: str) -> WorkflowRun:
    """A fresh run, cut at one place, until it announces nothing any more; cancelled once its call is handed over, if so."""
    stage.begin(cut)
    qstash.begin()
    run_id = f"{qstash.when}-{stage.number}"
    offloaded.trigger({"payments": url}, run_id)

    def act() -> None:
        run = WorkflowRun.objects.get(run_id=run_id)
        if qstash.when == "cancelled" and run.waits.filter(kind="callback").exists():
            stage.attempt(run.cancel)
            WorkflowRun.objects.get(run_id=run_id).cancel()
        qstash.report_all(WorkflowRun.objects.get(run_id=run_id))

    stage.deliver_all(WorkflowRun.objects.filter(run_id=run_id), act)
    return WorkflowRun.objects.get(run_id=run_id)


def problems_of(run: WorkflowRun, qstash: QStash, payments: PaymentService) -> list[str]:
    """In what a run is not what it should be; empty when all is well."""
    found = list(evidence_against(run))
    is_cancelled = qstash.when == "cancelled"
    paid = {"charged": 5, "for": "n"}
    if (run.status, run.result) != (("cancelled", None) if is_cancelled else ("completed", [paid, paid])):
        found.append(f"is {run.status} and returned {run.result}: {run.error_message}")
    completed = sorted(str(event.step_id) for event in run.events.filter(type="step.completed"))
    if completed != (["beside"] if is_cancelled else ["alone", "beside", "grouped"]):
        found.append(f"has completed {completed}")
    suspended = [each.facts for each in run.events.filter(type="step.suspended")]
    answered = [facts["key"] for facts in suspended if facts["kind"] == "callback"]
    if len(answered) != len(set(answered)):
        found.append(f"has waited for one report twice: {answered}")
    if len(payments.requests_of(run.run_id)) != (1 if is_cancelled else 2):
        found.append(f"has charged under {len(payments.requests_of(run.run_id))} keys")
    missed = [each for each in run.events.filter(type="step.failed") if each.facts["error"].endswith("AnswerMissing")]
    if len(missed) != (1 if qstash.when == "late" else 0):
        found.append(f"has missed {len(missed)} reports")
    left = (OutboxMessage.objects.filter(run_uid=run.pk), run.waits.all(), Lease.objects.filter(run_uid=run.pk))
    return found + [f"has left {list(rows)}" for rows in left if rows.exists()]


@pytest.fixture
def offloader(hookflow: Hookflow, settings: Settings) -> Iterator[Offloader]:
    with running_offloader(hookflow, settings) as offloader:
        yield offloader


@pytest.mark.parametrize("when", COMES_TO)
def test_a_crash_at_every_statement_of_an_offloaded_call(
    hookflow: Hookflow,
    wire: Wire,
    payments: PaymentService,
    offloader: Offloader,
    when: Report,
    record_property: Callable[[str, object], None],
) -> None:
    stage = Stage(hookflow, wire)
    qstash = QStash(stage, offloader, when)
    undisturbed = play(stage, None, qstash, payments.url)
    statements = list(wire.statements)
    assert problems_of(undisturbed, qstash, payments) == []
    assert set(qstash.came_to) == COMES_TO[when]
    failed: list[str] = []
    for cut in [Cut(at, side, for_good=True) for at in range(len(statements)) for side in SIDES]:
        run = play(stage, cut, qstash, payments.url)
        assert wire.has_cut, f"nothing was cut {cut}: {statements[cut.at]}"
        failed += [f"{cut} ({statements[cut.at]:.80}): {each}" for each in problems_of(run, qstash, payments)]
    record_property(
        "crash points", f"{len(statements)} statements of an offloaded call, {2 * len(statements)} crash points"
    )
    assert failed == []
