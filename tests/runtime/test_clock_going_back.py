"""The database's clock goes back an hour, or forward an hour and back: what is due goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.delivery import outbox
from django_hookflow.delivery.relay import Relay
from django_hookflow.models import DeadLetterEntry, Lease, OutboxMessage, WorkflowRun
from django_hookflow.runtime.receiving import receive
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600.0
NOW = "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE AS $$ {} $$"

ran: list[str] = []


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    ran.clear()
    yield
    ask(NOW.format("SELECT clock_timestamp()"))


def set_clock(offset: float) -> None:
    """Sets the clock of the database alone, as somebody with the wrong time at hand would."""
    ask(NOW.format(f"SELECT clock_timestamp() + interval '{offset} seconds'"))


def get(run_id: str) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=run_id)


def work() -> str:
    ran.append("work")
    return "done"


@workflow(workflow_id="tests.clock_back.plain")
def plain(ctx: WorkflowContext) -> str:
    return ctx.step.run("work", work)


@workflow(workflow_id="tests.clock_back.napping")
def napping(ctx: WorkflowContext) -> str:
    ctx.step.sleep("nap", 60)
    return ctx.step.run("work", work)


@workflow(workflow_id="tests.clock_back.failing")
def failing(ctx: WorkflowContext) -> None:
    ctx.step.run("work", lambda: int("nothing"))


def by_relay(hookflow: Hookflow, run_id: str) -> WorkflowRun:
    """What a relay that starts now does, a few times over."""
    relay = Relay("inline", receive)
    for _ in range(3):
        relay.run_once()
    return get(run_id)


def by_kit(hookflow: Hookflow, run_id: str) -> WorkflowRun:
    for _ in range(3):
        hookflow.deliver(run_id)
    return get(run_id)


Deliver = Callable[[Hookflow, str], WorkflowRun]
both = pytest.mark.parametrize("deliver", [by_relay, by_kit], ids=["relay", "kit"])
#: What the clock showed before, and what it shows then.
moves = pytest.mark.parametrize(("before", "after"), [(0, -HOUR), (HOUR, 0)], ids=["back", "forward and back"])


@both
@moves
def test_a_triggered_run_begins(hookflow: Hookflow, deliver: Deliver, before: float, after: float) -> None:
    set_clock(before)
    run_id = plain.trigger()
    set_clock(after)
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_run_whose_message_was_taken_and_lost_begins(
    hookflow: Hookflow, deliver: Deliver, before: float, after: float
) -> None:
    set_clock(before)
    run_id = plain.trigger()
    assert len(outbox.take_due(10)) == 1
    set_clock(after)
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_turn_whose_worker_was_lost_is_taken_over(
    hookflow: Hookflow, deliver: Deliver, before: float, after: float
) -> None:
    set_clock(before)
    hookflow.crash("work", "before")
    run_id = plain.trigger()
    assert hookflow.deliver(run_id).answer == "crashed"
    assert Lease.objects.exists()
    set_clock(after)
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_sleep_counts_from_the_clock_as_it_is_then(
    hookflow: Hookflow, deliver: Deliver, before: float, after: float
) -> None:
    """Its run's last event is recorded an hour ahead of that clock."""
    set_clock(before)
    run_id = napping.trigger()
    set_clock(after)
    run = deliver(hookflow, run_id)
    [wait] = run.waits.all()
    [row] = ask("SELECT extract(epoch FROM %s - hookflow_now())::float8 AS remaining", wait.due_at)
    assert 30 < row["remaining"] <= 60
    set_clock(after + 50)
    assert deliver(hookflow, run_id).status == "running", "never early"
    set_clock(after + 61)
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_sleep_that_was_due_before_the_clock_went_back_is_slept_by_the_clock(
    hookflow: Hookflow, deliver: Deliver, before: float, after: float
) -> None:
    set_clock(before)
    run_id = napping.trigger()
    hookflow.deliver(run_id)
    set_clock(after)
    assert deliver(hookflow, run_id).status == "running", "never early"
    set_clock(before + 61)
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_paused_run_is_resumed_and_goes_on(hookflow: Hookflow, deliver: Deliver, before: float, after: float) -> None:
    set_clock(before)
    run_id = plain.trigger()
    get(run_id).pause()
    set_clock(after)
    assert deliver(hookflow, run_id).status == "paused"
    assert get(run_id).resume()
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_sleeper_is_woken(hookflow: Hookflow, deliver: Deliver, before: float, after: float) -> None:
    set_clock(before)
    run_id = napping.trigger()
    hookflow.deliver(run_id)
    set_clock(after)
    assert get(run_id).wake()
    assert deliver(hookflow, run_id).status == "completed"


@both
@moves
def test_a_failed_run_is_replayed(hookflow: Hookflow, deliver: Deliver, before: float, after: float) -> None:
    set_clock(before)
    run_id = failing.trigger()
    hookflow.deliver(run_id)
    hookflow.stub("work", "done")
    set_clock(after)
    DeadLetterEntry.objects.get().replay()
    assert deliver(hookflow, run_id).status == "completed"


def test_a_relay_that_sees_the_clock_go_back_sends_what_is_due_at_once(hookflow: Hookflow) -> None:
    """Also what was announced long before, and put off by the hour that is now to come."""
    sleeper, starter = napping.trigger(), plain.trigger()
    hookflow.deliver(sleeper)
    set_clock(2 * HOUR)
    relay = Relay("inline", receive)
    assert relay.run_once() == 2
    late_sleeper, late_starter = napping.trigger(), plain.trigger()
    hookflow.deliver(late_sleeper)
    set_clock(2 * HOUR + 61)
    assert len(outbox.take_due(10)) == 2, "by a relay that dies with them"
    set_clock(4 * HOUR)
    relay._next_due()
    ask("UPDATE django_hookflow_outbox SET send_at = hookflow_now() + interval '5 minutes'")
    set_clock(3 * HOUR)
    assert relay.run_once() == 2
    assert {get(run_id).status for run_id in (sleeper, starter, late_sleeper, late_starter)} == {"completed"}
    assert not OutboxMessage.objects.exists()


def test_a_pause_between_attempts_is_not_cut_short_by_a_relay_that_starts(hookflow: Hookflow) -> None:
    run_id = plain.trigger()
    [message] = outbox.take_due(10)
    assert outbox.reschedule(message, 30)
    assert by_relay(hookflow, run_id).status == "pending"
    set_clock(31)
    assert by_relay(hookflow, run_id).status == "completed"
