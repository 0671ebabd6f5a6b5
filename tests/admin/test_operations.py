"""The page offers an operation if and only if doing it, through the model, succeeds and changes something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.admin import WorkflowRunAdmin
from django_hookflow.admin.operating.many import RunAct
from django_hookflow.admin.operating.operations import OPERATIONS
from django_hookflow.exceptions import HookFlowException
from django_hookflow.models import DeadLetterEntry, WorkflowEvent, WorkflowRun
from django_hookflow.runtime import operating
from tests.admin.conftest import RUNS, count_queries
from tests.admin.history import add
from tests.admin.page import parse
from tests.admin.test_operating import asleep, broken, failed, get, in_doubt, open_page, operated, url_of
from tests.admin.test_operating_many import ask, counts, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.test import Client

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _mend() -> None:
    broken.clear()


@workflow(workflow_id="tests.admin.stumbles")
def stumbles(ctx: WorkflowContext) -> None:
    raise ValueError("between steps")


@workflow(workflow_id="tests.admin.hurried", timeout=60)
def hurried(ctx: WorkflowContext) -> None:
    ctx.step.run("begin", str, "ok")
    ctx.step.sleep("wait", seconds=5000)


@workflow(workflow_id="tests.admin.flaky")
def flaky(ctx: WorkflowContext) -> None:
    ctx.step.options(retry=Retry(max_attempts=2, first_delay=100)).run("charge", lambda: dict[str, str]()["card"])


def pending(hookflow: Hookflow) -> None:
    operated.trigger(run_id="order-1")


def in_mid_turn(hookflow: Hookflow) -> None:
    pending(hookflow)
    with connection.cursor() as cursor:
        cursor.execute("SELECT hookflow_claim(%s, 'order-1', 1, 'w', interval '60 s', '{}')", [operated.workflow_id])


def backing_off(hookflow: Hookflow) -> None:
    flaky.trigger(run_id="order-1")
    hookflow.deliver("order-1")


def backing_off_between_steps(hookflow: Hookflow) -> None:
    stumbles.trigger(run_id="order-1")
    hookflow.deliver("order-1")


def completed(hookflow: Hookflow) -> None:
    hookflow.drive(asleep(hookflow).run_id)


def replayed(hookflow: Hookflow) -> None:
    failed(hookflow)
    DeadLetterEntry.objects.get().replay()


def replayed_and_completed(hookflow: Hookflow) -> None:
    replayed(hookflow)
    broken.clear()
    hookflow.drive("order-1")


def failed_again(hookflow: Hookflow) -> None:
    replayed(hookflow)
    hookflow.drive("order-1")


def restarted(hookflow: Hookflow) -> None:
    failed(hookflow)
    DeadLetterEntry.objects.get().replay(from_start=True)


def failed_and_its_dead_letter_removed(hookflow: Hookflow) -> None:
    run = failed(hookflow)
    add(run.pk, "dead_letter.removed", failed_seq=DeadLetterEntry.objects.get().seq)


def failed_and_redacted(hookflow: Hookflow) -> None:
    failed(hookflow).redact(reason="asked for")


def cancelled(hookflow: Hookflow) -> None:
    asleep(hookflow).cancel()


def cancelled_in_doubt(hookflow: Hookflow) -> None:
    in_doubt(hookflow).cancel()


def paused(hookflow: Hookflow) -> None:
    pending(hookflow)
    get().pause()


def paused_while_sleeping(hookflow: Hookflow) -> None:
    asleep(hookflow).pause()


def rewound_to_the_beginning(hookflow: Hookflow) -> None:
    asleep(hookflow).rewind(to_step="validate")


def diverged(hookflow: Hookflow) -> None:
    add(
        asleep(hookflow).pk,
        "run.diverged",
        recorded="wait",
        asked="elsewhere",
        error={"type": "Diverged", "message": "it does not fit"},
    )


def timed_out(hookflow: Hookflow) -> None:
    hurried.trigger(run_id="order-1")
    assert hookflow.drive("order-1").status == "failed"


def archived(hookflow: Hookflow) -> None:
    completed(hookflow)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_head SET archived_at = now()")


STATES: list[Callable[[Hookflow], Any]] = [
    pending,
    in_mid_turn,
    asleep,
    backing_off,
    backing_off_between_steps,
    completed,
    failed,
    replayed,
    replayed_and_completed,
    failed_again,
    restarted,
    failed_and_its_dead_letter_removed,
    failed_and_redacted,
    cancelled,
    cancelled_in_doubt,
    paused,
    paused_while_sleeping,
    rewound_to_the_beginning,
    in_doubt,
    diverged,
    timed_out,
    archived,
]


def perform(name: str, run: WorkflowRun) -> None:
    """As code of the project would do it."""
    if name in ("replay", "restart"):
        entry = DeadLetterEntry.objects.filter(run_uid=run.pk).order_by("-seq").first()
        if entry is None:
            raise HookFlowException("there is no dead letter to replay")
        entry.replay(from_start=name == "restart")
    elif name == "rewind":
        step_ids = run.events.filter(type__startswith="step.").order_by("seq").values_list("step_id", flat=True)
        run.rewind(to_step=step_ids.first() or "validate")
    elif name == "resolve":
        run.resolve("charge", result="paid")
    elif name == "rebuild":
        operating.rebuild(run, actor=None, reason="")
    else:
        getattr(run, name)()


def changes(name: str, run: WorkflowRun) -> bool:
    """Whether it succeeds and changes something; the log's note that it was asked for again is no change."""
    before = events_of(run.pk)
    try:
        perform(name, run)
    except HookFlowException:
        assert events_of(run.pk) == before
        return False
    return events_of(run.pk) > before


def events_of(run_uid: UUID) -> int:
    return WorkflowEvent.objects.filter(workflow_run_id=run_uid).exclude(type="run.replay_repeated").count()


def name_of(state: Callable[[Hookflow], Any]) -> str:
    return state.__name__


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("state", STATES, ids=name_of)
def test_what_is_offered_is_what_can_be_done(
    hookflow: Hookflow, superuser: Client, state: Callable[[Hookflow], Any], name: str
) -> None:
    state(hookflow)
    run = get()
    refusals = open_page(superuser, run, name).all("p", **{"class": "hookflow-why-not"})
    links = {a.attributes.get("href") for a in parse(superuser.get(f"{RUNS}{run.pk}/change/")).all("a")}

    assert (url_of(run, name) in links) is not bool(refusals), refusals
    assert changes(name, run) is not bool(refusals), refusals


@pytest.mark.parametrize("name", ["cancel", "pause", "resume", "wake", "replay"])
@pytest.mark.parametrize("state", STATES, ids=name_of)
def test_as_one_of_many_it_is_done_where_it_is_offered_for_one(
    hookflow: Hookflow, superuser: Client, state: Callable[[Hookflow], Any], name: str
) -> None:
    state(hookflow)
    run = get()
    is_offered = not open_page(superuser, run, name).all("p", **{"class": "hookflow-why-not"})
    before = events_of(run.pk)

    done, was_so, refused = counts(send(superuser, ask(superuser, f"{name}_selected", [run.pk])))

    assert (done, was_so + refused) == ((1, 0) if is_offered else (0, 1))
    assert (events_of(run.pk) > before) is is_offered


def test_every_operation_on_many_is_tested_here() -> None:
    assert {getattr(action, "__name__", action) for action in WorkflowRunAdmin.actions} == {
        RunAct(OPERATIONS[name]).name for name in ("cancel", "pause", "resume", "wake", "replay")
    }


def test_what_may_be_done_is_asked_in_one_query(hookflow: Hookflow, superuser: Client) -> None:
    asleep(hookflow)
    with count_queries() as queries:
        superuser.get(f"{RUNS}{get().pk}/change/")
    assert sum("hookflow_may" in sql for sql in queries) == 1
