"""A run's deadline: it stands through whatever is done to the run, and takes a run that is at work as well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.delivery.messages import DEADLINE
from django_hookflow.delivery.relay import Relay
from django_hookflow.models import DeadLetterEntry, OutboxMessage, WorkflowRun
from django_hookflow.runtime import operating
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.sessions import in_another_session
from tests.testapp.models import LedgerEntry
from tests.webhook.test_webhook import deliver as post

pytestmark = pytest.mark.django_db(transaction=True)

calls: list[str] = []


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    calls.clear()


def get(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def fail_once() -> str:
    calls.append("work")
    if len(calls) == 1:
        raise LookupError("the first time")
    return "done"


@workflow(workflow_id="tests.deadlines.failing", timeout=100)
def failing(ctx: WorkflowContext) -> str:
    ctx.step.run("before", lambda: None)
    return ctx.step.run("work", fail_once)


def replay(hookflow: Hookflow, run_id: str) -> None:
    DeadLetterEntry.objects.get().replay()


def rewind(hookflow: Hookflow, run_id: str) -> None:
    get(run_id).rewind(to_step="work")


def rebuild_and_replay(hookflow: Hookflow, run_id: str) -> None:
    DeadLetterEntry.objects.get().replay()
    operating.rebuild(get(run_id), actor=None, reason="to see")


again = pytest.mark.parametrize("go_on", [replay, rewind, rebuild_and_replay])


@again
def test_after_a_failure_it_goes_on_within_its_time(hookflow: Hookflow, go_on: Callable[[Hookflow, str], None]) -> None:
    run_id = failing.trigger()
    assert hookflow.deliver(run_id).answer == "failed"
    hookflow.advance(90)
    go_on(hookflow, run_id)
    assert hookflow.drive(run_id).status == "completed"
    assert not OutboxMessage.objects.exists()


@again
def test_after_a_failure_it_does_not_go_on_after_its_time(
    hookflow: Hookflow, go_on: Callable[[Hookflow, str], None]
) -> None:
    run_id = failing.trigger()
    assert hookflow.deliver(run_id).answer == "failed"
    hookflow.advance(10_000)
    go_on(hookflow, run_id)
    assert hookflow.deliver(run_id).answer == "failed"
    run = get(run_id)
    assert (run.status, run.error_type, calls) == ("failed", "RunTimedOut", ["work"])
    assert DeadLetterEntry.objects.filter(is_replayed=False, error_type="RunTimedOut").count() == 1


@again
def test_a_run_that_goes_on_and_then_waits_fails_at_its_time_by_a_relay(
    hookflow: Hookflow, go_on: Callable[[Hookflow, str], None]
) -> None:
    run_id = failing.trigger()
    hookflow.deliver(run_id)
    go_on(hookflow, run_id)
    get(run_id).pause()
    relay = Relay("inline", receive)
    assert relay.run_once() == 0
    hookflow.advance(101)
    assert relay.run_once() == 1
    assert (get(run_id).status, get(run_id).error_type) == ("failed", "RunTimedOut")


def by_relay(run_id: str) -> None:
    Relay("inline", receive).run_once()


def by_message(run_id: str) -> None:
    run = get(run_id)
    body = {"workflow_id": run.workflow_id, "run_id": run_id, "seq": 1, "kind": DEADLINE}
    answer = post(body, run.workflow_id)
    calls.append(f"{answer.status_code} {answer.json()['status']}")


@pytest.mark.parametrize("arrive", [by_relay, by_message], ids=["relay", "message"])
@pytest.mark.parametrize("kind", ["run", "failing", "atomic"])
def test_in_the_middle_of_a_step_the_run_fails_and_what_the_step_came_to_is_recorded(
    hookflow: Hookflow, arrive: Callable[[str], None], kind: str
) -> None:
    def outlast() -> str:
        LedgerEntry.objects.create(account="shop", amount=1)
        in_another_session(lambda: hookflow.advance(39))
        in_another_session(lambda: Relay("inline", receive).run_once())
        assert get(run_id).status == "running"
        in_another_session(lambda: hookflow.advance(2))
        in_another_session(lambda: arrive(run_id))
        if kind == "failing":
            raise OSError("as well")
        return "done"

    @workflow(workflow_id="tests.deadlines.long", timeout=40, retry=Retry(max_attempts=3))
    def long(ctx: WorkflowContext) -> None:
        getattr(ctx.step, "atomic" if kind == "atomic" else "run")("outlast", outlast)
        calls.append("next")

    run_id = long.trigger()
    assert hookflow.deliver(run_id).answer == "lost"
    run = get(run_id)
    assert (run.status, run.error_type, run.waits.count()) == ("failed", "RunTimedOut", 0)
    recorded = {"run": ["step.completed outlast"], "failing": ["step.failed outlast", "step.suspended outlast"]}
    assert hookflow.history(run_id) == ["run.triggered", "run.failed", *recorded.get(kind, [])]
    assert LedgerEntry.objects.count() == (kind != "atomic"), "an atomic step leaves nothing in a run that has ended"
    assert calls in ([], ["200 failed"])
    assert not OutboxMessage.objects.exists()
    entry = DeadLetterEntry.objects.get()
    assert (entry.error_type, entry.attempt_count) == ("RunTimedOut", 1)


def test_a_deadline_message_that_comes_early_is_asked_to_come_again(hookflow: Hookflow) -> None:
    run_id = failing.trigger()
    answer = post(
        {"workflow_id": "tests.deadlines.failing", "run_id": run_id, "seq": 1, "kind": DEADLINE}, failing.workflow_id
    )
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert get(run_id).status == "pending"


def test_what_waits_for_somebody_is_not_driven_to_its_deadline(hookflow: Hookflow) -> None:
    @workflow(workflow_id="tests.deadlines.held", timeout=100)
    def held(ctx: WorkflowContext) -> str:
        ctx.step.sleep("nap", 10)
        return "done"

    run_id = held.trigger()
    get(run_id).pause()
    assert hookflow.drive(run_id).status == "paused"
    get(run_id).resume()
    assert hookflow.drive(run_id).status == "completed"
