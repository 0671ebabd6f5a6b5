"""The test kit drives runs of the stateless mode, with no database and no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from django_hookflow import Retry, WorkflowContext, workflow
from django_hookflow.exceptions import UnknownRun
from django_hookflow.testing import Hookflow, NotEnding

did: list[str] = []


@workflow(workflow_id="stateless.kit", retry=Retry(max_attempts=3))
def process(ctx: WorkflowContext) -> dict[str, Any]:
    charged = ctx.step.run("charge", lambda: did.append("charge"))
    ctx.step.sleep("a-while", 86_400 * 20)
    return {"charged": charged, "pair": (1, 2)}


@pytest.fixture
def kit(settings: Any) -> Iterator[Hookflow]:
    did.clear()
    settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
    with Hookflow() as kit:
        yield kit


def test_a_run_to_its_end(kit: Hookflow) -> None:
    run = kit.run(process, {"order_id": "1"}, "order-1")
    assert (run.run_id, run.workflow_id, run.status) == ("order-1", "stateless.kit", "completed")
    assert run.result == {"charged": None, "pair": (1, 2)}
    assert did == ["charge"]


def test_stubs_and_failures(kit: Hookflow) -> None:
    kit.stub("charge", raises=ValueError("refused"))
    run = kit.run(process)
    assert (run.status, did) == ("failed", [])
    assert "refused" in run.error_message


@pytest.mark.parametrize(("when", "times"), [("before", 1), ("after", 2)])
def test_a_lost_worker_leaves_its_message(kit: Hookflow, when: Any, times: int) -> None:
    kit.crash("charge", when)
    assert (kit.run(process).status, len(did)) == ("completed", times)


def test_a_run_that_does_not_end(kit: Hookflow) -> None:
    kit.crash("charge", times=1000)
    with pytest.raises(NotEnding):
        kit.run(process)


def test_a_run_that_has_ended_has_nothing_to_deliver(kit: Hookflow) -> None:
    run = kit.run(process)
    with pytest.raises(UnknownRun):
        kit.drive(run.run_id)


@pytest.mark.django_db
def test_in_a_test_case_whose_transaction_never_commits(kit: Hookflow) -> None:
    with transaction.atomic():
        assert kit.run(process).status == "completed"


def test_nothing_stays_behind(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = False
    from django_hookflow import wrappers
    from django_hookflow.clock import clock

    with Hookflow() as kit:
        kit.run(process)
        assert clock.offset > 86_400
    assert (clock.offset, wrappers.innermost) == (0.0, [])
