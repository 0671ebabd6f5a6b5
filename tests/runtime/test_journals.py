"""One suite for what a turn reads and appends to: the log, a history that is only read, and one out of a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.conf import conf
from django_hookflow.events import log, types
from django_hookflow.events.log import NewEvent
from django_hookflow.exceptions import HistoryTooLarge, NeedsLog, OpenTransaction, TurnLost, WorkflowError
from django_hookflow.models import WorkflowRun
from django_hookflow.runtime.context import WorkflowContext as Context
from django_hookflow.runtime.execution import Diverged, Execution
from django_hookflow.runtime.history import History
from django_hookflow.runtime.journal import EndOfHistory, HistoryJournal, Journal, LogJournal, check_no_transaction
from django_hookflow.runtime.stateless import MessageJournal
from django_hookflow.runtime.step import facts_of_completion
from django_hookflow.runtime.steps import StepManager, first_options
from django_hookflow.testing import Hookflow
from tests.log.calls import append, ask
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

asked: list[Any] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    asked.clear()


def enter(name: str) -> str:
    asked.append(name)
    LedgerEntry.objects.create(account=name, amount=1)
    return name


def fail(name: str) -> None:
    asked.append(name)
    raise LookupError(name)


@workflow(workflow_id="tests.journals", retry=Retry(max_attempts=1))
def several(ctx: WorkflowContext) -> list[Any]:
    """Steps of each kind, one of which fails; the last is what a history may not have yet."""
    found: list[Any] = [
        ctx.data["n"],
        ctx.step.run("plain", enter, "plain"),
        ctx.step.atomic("atomic", enter, "atomic"),
    ]
    try:
        ctx.step.run("failing", fail, "failing")
    except WorkflowError as error:
        found.append(str(error.__cause__))
    ctx.step.sleep("nap", 60)
    kind = ctx.data["last"]
    last: Any = getattr(ctx.step, kind)
    found.append(last("last", 5) if kind == "sleep" else last("last", enter, "last"))
    return found


def log_journal(run_id: str) -> LogJournal:
    announced = ask(
        "SELECT o.seq FROM django_hookflow_outbox AS o JOIN django_hookflow_head AS h USING (run_uid) WHERE run_id = %s",
        run_id,
    )
    claim = log.claim(
        several.workflow_id, run_id, announced[0]["seq"], owner="test", lease_seconds=conf.lease_seconds, facts={}
    )
    assert claim.answer == "run"
    return LogJournal(several.workflow_id, run_id, claim)


def history_journal(run_id: str) -> HistoryJournal:
    """What a claim would hand out, without one."""
    run = WorkflowRun.objects.get(run_id=run_id)
    rows = ask(
        "SELECT seq, type, step_id, facts::text, payload::text FROM hookflow_event_readable"
        " WHERE run_uid = %s AND type <> 'turn.started' ORDER BY seq",
        run.run_uid,
    )
    return HistoryJournal(run.run_uid, [log.RecordedEvent(**row) for row in rows])


def message_journal(run_id: str) -> MessageJournal:
    """The same history as if it had come in a message."""
    return MessageJournal(several.workflow_id, run_id, history_journal(run_id).history())


JOURNALS = {"log": log_journal, "history": history_journal, "message": message_journal}

Open = Callable[[str], Journal]
every = pytest.mark.parametrize("open_journal", JOURNALS.values(), ids=JOURNALS)


def pass_over(journal: Journal, data: dict[str, Any]) -> Any:
    """One pass of the workflow, as a turn makes it."""
    execution = Execution(journal, History(journal.history(), journal.turn_seq))
    steps = StepManager(execution, first_options(several.retry))
    result = several(Context(data, "any", several.workflow_id, steps, execution))
    execution.check_history_was_asked()
    return result


def until_the_last(hookflow: Hookflow, kind: str = "run") -> tuple[str, dict[str, Any]]:
    """A run all of whose steps but the last are recorded."""
    data = {"n": 7, "last": kind}
    run_id = several.trigger(data)
    hookflow.deliver(run_id)
    hookflow.advance(61)
    run = WorkflowRun.objects.get(run_id=run_id)
    assert ask("SELECT hookflow_settle(%s, 'nap', 'sleep', NULL, NULL, NULL, NULL) AS done", run.run_uid)[0]["done"]
    asked.clear()
    return run_id, data


@every
def test_the_same_history_gives_the_same_pass_and_no_step_runs_again(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, data = until_the_last(hookflow)
    run = WorkflowRun.objects.get(run_id=run_id)
    last = types.STEP_COMPLETED, "last", {"result": "recorded"}, {"kind": "run", "attempt": 1, "took": 0.5}
    append(run.run_uid, None, last)
    journal = open_journal(run_id)
    assert pass_over(journal, data) == [7, "plain", "atomic", "failing", "recorded"]
    assert (asked, journal.over) == ([], False)
    assert journal.history()[0].type == types.RUN_TRIGGERED
    assert [event.seq for event in journal.history()] == sorted(event.seq for event in journal.history())
    assert types.TURN_STARTED not in {event.type for event in journal.history()}
    assert journal.turn_seq > journal.history()[-1].seq
    if not isinstance(journal, MessageJournal):
        assert journal.run_uid == run.run_uid


@every
def test_code_that_does_not_fit_the_history_diverges_alike(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    execution = Execution(journal, History(journal.history(), journal.turn_seq))
    steps = StepManager(execution, first_options(None))
    steps.run("plain", enter, "plain")
    with pytest.raises(Diverged) as divergence:
        steps.run("new", enter, "new")
    assert (divergence.value.recorded, divergence.value.asked, asked) == ("atomic", "new", [])
    with pytest.raises(Diverged, match="the code calls it as 'run'"):
        steps.run("nap", enter, "nap")


@every
@pytest.mark.parametrize("kind", ["run", "atomic"])
def test_an_event_is_recorded_or_it_is_the_end_of_the_history(
    hookflow: Hookflow, open_journal: Open, kind: str
) -> None:
    run_id, data = until_the_last(hookflow, kind)
    journal = open_journal(run_id)
    before = kept(journal, run_id)
    if isinstance(journal, MessageJournal) and kind == "atomic":
        with pytest.raises(WorkflowError, match=r"ctx\.step\.atomic needs the event log"):
            pass_over(journal, data)
        assert (asked, LedgerEntry.objects.filter(account="last").exists()) == ([], False), "it is not even done"
    elif isinstance(journal, HistoryJournal):
        with pytest.raises(EndOfHistory, match="the code continues with step 'last'") as end:
            pass_over(journal, data)
        assert (end.value.step_id, journal.over, events_of(run_id)) == ("last", True, before)
        assert (asked, LedgerEntry.objects.filter(account="last").exists()) == ([], False), "it is not even done"
    else:
        assert pass_over(journal, data) == [7, "plain", "atomic", "failing", "last"]
        assert (journal.over, kept(journal, run_id)) == (False, [*before, "step.completed"])
        assert LedgerEntry.objects.filter(account="last").count() == 1


@every
def test_the_end_of_a_turn_is_the_end_of_the_pass(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    completed = NewEvent(types.RUN_COMPLETED, payload='{"result":null}')
    if isinstance(journal, HistoryJournal):
        with pytest.raises(EndOfHistory):
            journal.append(completed, ends_turn=True)
    else:
        journal.append(completed, ends_turn=True)
    assert journal.over


@every
def test_what_is_appended_in_a_transaction_that_is_undone_is_not_recorded(
    hookflow: Hookflow, open_journal: Open
) -> None:
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    before = events_of(run_id)
    step = NewEvent(types.STEP_COMPLETED, "last", '{"kind":"atomic","attempt":1,"took":0}', '{"result":1}')

    def write_and_raise() -> None:
        with journal.atomic():
            LedgerEntry.objects.create(account="undone", amount=1)
            journal.append(step, ends_turn=True)
            raise ZeroDivisionError

    with pytest.raises((ZeroDivisionError, EndOfHistory, NeedsLog)):
        write_and_raise()
    assert (events_of(run_id), LedgerEntry.objects.filter(account="undone").count()) == (before, 0)
    assert connection.in_atomic_block is False
    if isinstance(journal, LogJournal):
        assert journal.over is False, "the turn has not ended: what ended it was undone"
        journal.append(step)
        assert events_of(run_id) == [*before, "step.completed"]


@every
def test_a_transaction_of_the_workflow_is_seen(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    assert not journal.is_in_transaction()
    check_no_transaction(journal)
    with transaction.atomic():
        assert journal.is_in_transaction()
        with pytest.raises(OpenTransaction):
            check_no_transaction(journal)
    assert not journal.is_in_transaction()


@every
def test_a_transaction_around_everything_is_none_of_the_workflow(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, _ = until_the_last(hookflow)
    with transaction.atomic():
        journal = open_journal(run_id)
        assert not journal.is_in_transaction()
        with transaction.atomic() if isinstance(journal, MessageJournal) else journal.atomic():
            assert journal.is_in_transaction()


@every
def test_a_pass_that_cannot_go_on_is_over(hookflow: Hookflow, open_journal: Open) -> None:
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    if not isinstance(journal, HistoryJournal):
        journal.check_may_work("last")
    loss = journal.lose("the test says so")
    assert isinstance(loss, TurnLost)
    assert journal.over


@every
def test_nothing_is_appended_when_nothing_fits(hookflow: Hookflow, open_journal: Open, settings: Any) -> None:
    """A fence lost, a history at its end, a message that is full: all or none of several events."""
    run_id, _ = until_the_last(hookflow)
    journal = open_journal(run_id)
    if isinstance(journal, MessageJournal):
        settings.DJANGO_HOOKFLOW_MAX_PAYLOAD_SIZE = 5000
    else:
        append(journal.run_uid, None, ("run.paused", None, {"reason": ""}))
    before = kept(journal, run_id)
    events = [NewEvent(types.STEP_SUSPENDED, "last", '{"kind":"sleep","seconds":5,"attempt":1}')] * 20
    with pytest.raises((TurnLost, EndOfHistory, HistoryTooLarge)):
        journal.append(*events, ends_turn=True)
    assert kept(journal, run_id) == before
    assert journal.over is not isinstance(journal, MessageJournal), "of what is too large a smaller failure can be kept"


def test_a_history_of_nothing_is_a_run_that_has_not_begun() -> None:
    journal = HistoryJournal(WorkflowRun().id, [])
    with pytest.raises(EndOfHistory, match="continues with step 'plain'"):
        pass_over(journal, {"n": 1, "last": "run"})


def test_a_sleep_that_is_not_recorded_is_the_end_of_a_history(hookflow: Hookflow) -> None:
    run_id, data = until_the_last(hookflow, "sleep")
    with pytest.raises(EndOfHistory) as end:
        pass_over(history_journal(run_id), data)
    assert end.value.step_id == "last"


@pytest.mark.parametrize("state", ["waiting", "failed before", "in doubt"])
def test_a_step_that_is_begun_and_not_ended_is_the_end_of_a_history(hookflow: Hookflow, state: str) -> None:
    run_id, data = until_the_last(hookflow)
    facts = {"kind": "run", "attempt": 1}
    begun: dict[str, tuple[Any, ...]] = {
        "waiting": (
            "step.suspended",
            "last",
            None,
            {"kind": "backoff", "seconds": 9, "attempt": 1, "step_kind": "run"},
        ),
        "failed before": ("step.retried", "last", None, {"attempt": 2}),
        "in doubt": ("step.intended", "last", None, facts),
    }
    failed = ("step.failed", "last", {"message": ""}, {**facts, "error": "OSError", "took": 0, "retry_in": 9})
    append(WorkflowRun.objects.get(run_id=run_id).run_uid, None, failed, begun[state])
    with pytest.raises(EndOfHistory, match="'last'"):
        pass_over(history_journal(run_id), data)
    assert asked == []


@given(took=st.floats(0, 1e9), attempt=st.integers(1, 10**6), kind=st.sampled_from(["run", "atomic", "call"]))
def test_the_facts_of_a_completion_are_the_json_of_them(took: float, attempt: int, kind: str) -> None:
    expected = json.dumps({"kind": kind, "attempt": attempt, "took": round(took, 6)})
    assert facts_of_completion(kind, attempt, took) == expected


def events_of(run_id: str) -> list[str]:
    rows = ask(
        "SELECT type FROM django_hookflow_event AS e JOIN django_hookflow_head AS h USING (run_uid)"
        " WHERE run_id = %s ORDER BY e.seq",
        run_id,
    )
    return [row["type"] for row in rows]


def kept(journal: Journal, run_id: str) -> list[str]:
    """The types of the events that the next turn will find."""
    if isinstance(journal, MessageJournal):
        return [json.loads(text)[1] for text in journal.texts]
    return events_of(run_id)
