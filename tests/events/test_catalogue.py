"""One catalogue of events: nothing is written that it does not list, and the database agrees with it about every type."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pytest

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.delivery.carrying import Predecessors
from django_hookflow.dlq import DeadLetterEntry
from django_hookflow.events import types
from django_hookflow.events.types import CATALOGUE, STATUS_WHILE, EventType
from django_hookflow.models import WorkflowEvent, WorkflowRun, WorkflowRunStatus
from django_hookflow.projections import diff
from django_hookflow.retention.dead_letters import remove_dead_letters
from django_hookflow.runtime import operating, receiving
from django_hookflow.testing import Hookflow
from tests.log.calls import ask

pytestmark = pytest.mark.django_db

MIGRATIONS = Path(types.__file__).parents[1] / "migrations"
PACKAGE = Path(types.__file__).parents[1]


def test_every_type_has_a_constant_and_every_constant_is_a_type() -> None:
    constants = {name: value for name, value in vars(types).items() if isinstance(value, str) and "." in value}
    constants = {name: value for name, value in constants.items() if name.isupper()}
    assert sorted(constants.values()) == sorted(CATALOGUE)
    assert all(name == value.upper().replace(".", "_") for name, value in constants.items())


def test_every_type_is_described() -> None:
    for name, type_ in CATALOGUE.items():
        assert re.fullmatch(r"(run|turn|step|signal|event|dead_letter)\.[a-z_]+", name)
        assert type_.meaning
        assert len(set(type_.facts)) == len(type_.facts)
        assert set(type_.facts).isdisjoint(type_.payload)
        assert type_.length is None or {type_.length, "until"} <= set(type_.facts)
        assert type_.waits_begun != "kind" or "kind" in type_.facts
        assert not type_.ends_run or type_.status in WorkflowRunStatus.values
        assert type_.status is None or type_.status in WorkflowRunStatus.values


@pytest.mark.parametrize(
    "type_", [*CATALOGUE.values(), EventType("a.type.of.tomorrow", "")], ids=lambda type_: type_.name
)
@pytest.mark.parametrize("kind", [None, *STATUS_WHILE, "sleep", "of tomorrow"])
def test_the_database_agrees_about_every_type(type_: EventType, kind: str | None) -> None:
    (row,) = ask(
        "SELECT hookflow_status_after(%s, %s) AS status, hookflow_ends_run(%s) AS ends_run, hookflow_is_act(%s) AS is_act, "
        "hookflow_wait_length(%s) AS length, hookflow_settles_of_run(%s) AS settles_run",
        *(type_.name, kind, *[type_.name] * 4),
    )
    status = STATUS_WHILE.get(kind or "") if type_.waits_begun == "kind" else type_.status
    assert row == {
        "status": status,
        "ends_run": type_.ends_run,
        "is_act": type_.is_act,
        "length": type_.length,
        "settles_run": list(type_.settles_run) or None,
    }


def test_every_type_that_is_named_in_the_package_is_in_the_catalogue() -> None:
    """In SQL and in Python; of other words in quotes with a point in them there are none that begin so."""
    named: dict[str, str] = {}
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]:
        for found in re.findall(
            r"""['"]((?:run|turn|step|signal|event|dead_letter)\.[a-z_]+)['"]""", path.read_text("utf-8")
        ):
            named.setdefault(found, str(path.relative_to(PACKAGE)))
    prefixes = {name.partition(".")[0] for name in CATALOGUE}
    del named["run.archived"]  # as which a tombstone is hashed, that is kept beside the log
    assert {name: where for name, where in named.items() if name not in CATALOGUE} == {}
    assert prefixes == {"run", "turn", "step", "signal", "event", "dead_letter"}


# A broad scenario, and what it leaves in the log.

fails: list[str] = []


def fail_while(name: str) -> None:
    if name in fails:
        fails.remove(name)
        raise OSError(f"no {name} at 10.0.0.1 for 'ada'")


@pytest.fixture
def hookflow() -> Any:
    with Hookflow() as hookflow:
        yield hookflow


@pytest.fixture
def everything(hookflow: Hookflow) -> list[WorkflowEvent]:
    """Events of every type, each by way of the public API."""

    @workflow(workflow_id="tests.catalogue.order", retry=Retry(max_attempts=2), timeout=10**6)
    def order(ctx: WorkflowContext) -> Any:
        ctx.progress(1, 4, "ada")
        ctx.step.run("validate", fail_while, "stock")
        ctx.step.sleep("nap", 60)
        ctx.step.atomic("charge", fail_while, "money")
        fail_while("workflow")
        return ctx.step.run("ship", lambda: "sent")

    @workflow(workflow_id="tests.catalogue.doubt")
    def doubtful(ctx: WorkflowContext) -> Any:
        return ctx.step.options(on_doubt="ask").run("charge", lambda: "charged")

    def drive(*, failing: list[str], label: str = "") -> WorkflowRun:
        fails[:] = failing
        return hookflow.drive(order.trigger({"email": "ada@example.com"}))

    # Retries of a step and of the workflow; a failure replayed; another restarted; a dead letter removed.
    assert drive(failing=["stock", "workflow"]).status == "completed"
    replayed = drive(failing=["stock", "stock"])
    DeadLetterEntry.objects.get(run_id=replayed.run_id).replay(reason="again")
    DeadLetterEntry.objects.get(run_id=replayed.run_id).replay(reason="once more")
    assert hookflow.drive(replayed.run_id).status == "completed"
    restarted = drive(failing=["money", "money"])
    DeadLetterEntry.objects.get(run_id=restarted.run_id).replay(from_start=True)
    fails[:] = ["workflow", "workflow"]
    hookflow.drive(order.trigger())
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1000)
    assert list(remove_dead_letters(later, of_runs_that_stay=False))

    # What people do.
    run = WorkflowRun.objects.get(run_id=order.trigger({"email": "ada@example.com"}))
    run.pause(reason="look", actor="ada")
    run.resume(reason="seen", actor="ada")
    hookflow.deliver(run.run_id)
    run.wake(actor="ada")
    run.signal("approval", {"amount": 1}, id="click-1", actor="ada")
    assert hookflow.drive(run.run_id).status == "completed"
    run.rewind(to_step="charge", actor="ada")
    assert hookflow.drive(run.run_id).status == "completed"
    run.note("corrected by hand", actor="ada")
    receiving.take_over(order.workflow_id, "of a message of 0.0.x", Predecessors("{}", {}))
    operating.rebuild(run, actor="ada", reason="to be sure")
    run.redact("data.email", reason="erasure", actor="ada")
    WorkflowRun.objects.get(run_id=order.trigger(delay=60, unique="ada")).cancel()

    # A worker lost in a step that is not to be repeated; code that has changed; time that is up.
    doubt = doubtful.trigger()
    hookflow.crash("charge")
    hookflow.drive(doubt)
    WorkflowRun.objects.get(run_id=doubt).resolve("charge", result=1, actor="ada", reason="looked")
    hookflow.drive(doubt)
    diverging = order.trigger()
    hookflow.deliver(diverging)
    order.function = lambda ctx: ctx.step.run("another", lambda: 1)
    hookflow.drive(diverging)
    late = order.trigger()
    hookflow.advance(10**7)
    hookflow.deliver(late)
    return list(WorkflowEvent.objects.order_by("position"))


def test_nothing_is_written_that_the_catalogue_does_not_list(everything: list[WorkflowEvent]) -> None:
    for event in everything:
        type_ = CATALOGUE[event.type]
        assert set(event.facts) <= set(type_.facts), f"{event.type}: {event.facts}"
        assert set(event.payload or {}) <= set(type_.payload), f"{event.type}: {event.payload}"
    assert {event.type for event in everything} == set(CATALOGUE)
    assert list(diff()) == []


def test_every_attempt_has_its_duration_and_every_failure_its_cause(everything: list[WorkflowEvent]) -> None:
    for event in everything:
        if event.type in ("step.completed", "step.failed"):
            assert event.facts["took"] >= 0
            assert event.facts["attempt"] >= 1
        if event.type in ("step.failed", "turn.failed", "run.failed"):
            assert event.facts["error"]
            assert re.fullmatch("[0-9a-f]{16}", event.facts["fingerprint"])
            assert event.payload is None or "error" not in event.payload
