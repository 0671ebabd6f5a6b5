"""Rows of the project that refer to runs: ``cleanup_workflows`` does what their ``on_delete`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from tests.retention.stage import archived, archived_in, cleanup, run_command
from tests.testapp.models import Dangling, Elsewhere, Group, Loose, Owned, OwnedPart, OwnedSeal, Protecting, Unanswered

if TYPE_CHECKING:
    from pathlib import Path

    from django.db.models import Model
    from pytest_django import Settings

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db(transaction=True)


@workflow(workflow_id="tests.references")
def order(ctx: WorkflowContext) -> int:
    return ctx.step.run("count", lambda: 1)


@pytest.fixture
def runs(hookflow: Hookflow) -> list[WorkflowRun]:
    """Eight runs that completed long ago."""
    for number in range(8):
        hookflow.drive(order.trigger(run_id=f"order-{number}"))
    hookflow.advance(40 * 86_400)
    return list(WorkflowRun.objects.order_by("run_id"))


def test_cascade_and_set_null_go_along(runs: list[WorkflowRun]) -> None:
    owned = [Owned.objects.create(run=run) for run in runs[:2]]
    OwnedPart.objects.create(owned=owned[0])
    loose = Loose.objects.create(run=runs[1])
    group = Group.objects.create()
    group.runs.set(runs)
    dangling = Dangling.objects.create(run=runs[2])

    assert cleanup()["WorkflowRun"] == 8

    loose.refresh_from_db()
    dangling.refresh_from_db()
    assert (Owned.objects.count(), OwnedPart.objects.count(), group.runs.count(), loose.run_id) == (0, 0, 0, None)
    assert dangling.run_id == runs[2].pk


def test_a_protected_run_stays_and_is_named_and_the_others_go(runs: list[WorkflowRun]) -> None:
    protecting = Protecting.objects.create(run=runs[3])
    seal = OwnedSeal.objects.create(owned=Owned.objects.create(run=runs[5]))
    Owned.objects.create(run=runs[3])

    printed = run_command("cleanup_workflows")

    assert f"run 'order-3' was kept: testapp.Protecting {protecting.pk} refers to it with on_delete=PROTECT" in printed
    assert f"run 'order-5' was kept: testapp.OwnedSeal {seal.pk} refers to it with on_delete=PROTECT" in printed
    assert "WorkflowRun: 6 removed" in printed
    assert {run.run_id for run in WorkflowRun.objects.all()} == {"order-3", "order-5"}
    assert Owned.objects.count() == 2  # of runs that stay nothing goes


def test_where_nobody_answers_the_run_stays_and_is_named(runs: list[WorkflowRun]) -> None:
    Unanswered.objects.create(run=runs[4])

    printed = run_command("cleanup_workflows")

    assert "run 'order-4' was kept: testapp_unanswered refers to it" in printed
    assert "WorkflowRun: 7 removed" in printed


class Router:
    """Says of one model that it is in a database that there is none of."""

    def db_for_write(self, model: type[Model], **hints: object) -> str | None:
        return "elsewhere" if model is Elsewhere else None


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_rows_in_another_database_are_nobodys_here(
    runs: list[WorkflowRun], settings: Settings, is_elsewhere: bool
) -> None:
    Elsewhere.objects.using("default").create(run=runs[0])
    settings.DATABASE_ROUTERS = [Router()] if is_elsewhere else []

    assert cleanup()["WorkflowRun"] == 8

    assert Elsewhere.objects.using("default").count() == is_elsewhere


def test_a_dry_run_counts_what_would_go_and_changes_nothing(runs: list[WorkflowRun]) -> None:
    Protecting.objects.create(run=runs[0])
    Owned.objects.create(run=runs[1])

    assert cleanup("--dry-run")["WorkflowRun"] == 7
    assert (Owned.objects.count(), WorkflowRun.objects.count()) == (1, 8)


def test_what_stays_is_not_archived(runs: list[WorkflowRun], tmp_path: Path) -> None:
    Protecting.objects.create(run=runs[0])

    cleanup("--archive-to", str(tmp_path))

    assert archived() == {run.run_id for run in runs[1:]}
    assert str(runs[0].pk) not in archived_in(tmp_path)


def test_a_row_that_comes_meanwhile_is_for_the_next_time(
    runs: list[WorkflowRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written after the runs were looked at: the database refuses, and nothing is half done."""
    Unanswered.objects.create(run=runs[0])
    monkeypatch.setattr("django_hookflow.retention.references.find_held", lambda runs: {})

    printed = run_command("cleanup_workflows")

    assert "8 runs skipped because of concurrent changes; the next cleanup will retry" in printed
    assert WorkflowRun.objects.count() == 8
