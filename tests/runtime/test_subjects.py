"""What runs are about: named at the trigger, kept in the log and its projection, found again from both sides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test.utils import isolate_apps

from django_hookflow import WorkflowContext, workflow
from django_hookflow.exceptions import WorkflowError
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.projections import diff, rebuild
from django_hookflow.subjects import references_to
from tests.log.calls import ask
from tests.testapp.models import LedgerEntry, RunKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db


@workflow(workflow_id="tests.subjects")
def about(ctx: WorkflowContext) -> str:
    return "done"


def entry(account: str = "cash") -> LedgerEntry:
    return LedgerEntry.objects.create(account=account, amount=1)


def run_about(subject: Any) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id=about.trigger({}, subject=subject))


def make_session() -> Model:
    return Session.objects.create(session_key="a key/with: ü", session_data="", expire_date="2030-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "make", [entry, lambda: RunKey.objects.create(run_uid=uuid4(), key=b"k"), make_session], ids=["int", "uuid", "text"]
)
def test_there_and_back(hookflow: Hookflow, make: Callable[[], Model]) -> None:
    thing = make()
    run, other = run_about(thing), run_about(None)

    assert run.subject == thing
    assert list(WorkflowRun.objects.for_subject(thing)) == [run]
    assert other.subject is None
    hookflow.drive(run.run_id)
    assert list(WorkflowRun.objects.filter(status="completed").for_subject(thing)) == [run]
    assert run.as_of(1).subjects == run.subjects


def test_of_several_each_finds_the_run_and_what_is_gone_is_left_out(hookflow: Hookflow) -> None:
    one, two = entry(), entry()
    run = run_about([one, two, one])

    assert run.subject == [one, two]
    assert list(WorkflowRun.objects.for_subject(one)) == list(WorkflowRun.objects.for_subject(two)) == [run]
    one.delete()
    assert run.subject == [two]
    two.delete()
    assert run.subject == []
    lonely = entry()
    assert run_about(lonely).subject == lonely
    lonely.delete()
    assert WorkflowRun.objects.order_by("-created_at")[0].subject is None


def test_a_key_is_kept_as_the_model_has_it(hookflow: Hookflow) -> None:
    saved = LedgerEntry(pk="0017", account="cash", amount=1)
    saved.save()
    uuid = uuid4()
    key = RunKey(run_uid=str(uuid).upper(), key=b"k")
    key.save()

    assert run_about(saved).subjects == [{"type": "testapp.ledgerentry", "key": "17"}]
    assert run_about(key).subjects == [{"type": "testapp.runkey", "key": str(uuid)}]
    assert list(WorkflowRun.objects.for_subject(LedgerEntry.objects.only("account").get())) != []


@isolate_apps("tests.testapp")
def test_a_proxy_stands_for_its_model(hookflow: Hookflow) -> None:
    class Seen(LedgerEntry):
        class Meta:
            proxy = True
            app_label = "testapp"

    thing = entry()
    run = run_about(Seen.objects.get(pk=thing.pk))

    assert run.subject == thing
    assert list(WorkflowRun.objects.for_subject(thing)) == [run]


def test_what_cannot_be_found_again_is_refused_and_nothing_is_written(hookflow: Hookflow) -> None:
    thing = entry()
    gone = entry()
    gone.delete()
    before = WorkflowEvent.objects.count()
    refused: list[tuple[Any, str]] = [
        (LedgerEntry(account="new", amount=1), "save it first"),
        (RunKey(run_uid=uuid4(), key=b"k"), "save it first"),
        (gone, "save it first"),
        ([thing, "shop.order"], "not a saved model instance"),
        ([entry() for _ in range(6)], "at most 5 subjects"),
        (LedgerEntry, "model"),
        (17, "model"),
        ("shop.order", "model"),
        ({"type": "shop.order"}, "model"),
        (0, "model"),
    ]
    for subject, words in refused:
        with pytest.raises(WorkflowError, match=words):
            about.trigger({}, subject=subject)
    assert WorkflowEvent.objects.count() == before
    with pytest.raises(WorkflowError, match="save it first"):
        WorkflowRun.objects.for_subject(LedgerEntry(account="new", amount=1))


def test_a_composite_key_is_refused_with_the_way_out() -> None:
    models = pytest.importorskip("django.db.models.fields.composite", reason="since Django 5.2")
    from django.db import models as django_models

    with isolate_apps("tests.testapp"):

        class Line(django_models.Model):
            pk = models.CompositePrimaryKey("order", "number")
            order = django_models.IntegerField()
            number = django_models.IntegerField()

            class Meta:
                app_label = "testapp"

        with pytest.raises(WorkflowError, match=r"a testapp\.Line cannot be the subject .* composite primary key"):
            references_to(Line(order=1, number=2))


def test_models_that_are_gone_or_have_another_key_by_now(hookflow: Hookflow) -> None:
    run = WorkflowRun(subjects=[{"type": "shop.gone", "key": "1"}])
    assert run.subject is None
    for reference in (
        {"type": "testapp.runkey", "key": "17"},
        {"type": "auth.user", "key": "not a number"},
        {"type": "auth.user", "key": "9" * 40},
        {"type": "nonsense", "key": "1"},
    ):
        assert WorkflowRun(subjects=[reference]).subject is None, reference


def test_the_projection_of_it_is_folded_compared_and_rebuilt(hookflow: Hookflow) -> None:
    run = run_about([entry(), entry()])
    assert list(diff(run.run_id)) == []
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_workflowrun SET subjects = NULL WHERE id = %s", [run.pk])
    assert "subjects" in str(*diff(run.run_id))

    list(rebuild(run.run_id))

    assert list(diff(run.run_id)) == []
    assert WorkflowRun.objects.get(pk=run.pk).subjects == run.subjects
    (then,) = WorkflowRun.objects.as_of(run.updated_at)[:5]
    assert then.subjects == run.subjects


def test_the_runs_of_one_thing_among_many_go_by_the_index(hookflow: Hookflow) -> None:
    """Of fifty thousand runs, each about one of ten thousand things."""
    thing = entry()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_hookflow_workflowrun (id, run_id, workflow_id, status, data, error_type, error_message, "
            "label, subjects, created_at, updated_at) SELECT gen_random_uuid(), 'many-' || n, 'w', 'completed', '{}', '', "
            "'', '', jsonb_build_array(jsonb_build_object('type', 'testapp.ledgerentry', 'key', (n / 5 + 1e6)::text)), "
            "now() - n * interval '1 s', now() FROM generate_series(1, 50000) AS n"
        )
        cursor.execute("ANALYZE django_hookflow_workflowrun")
    runs = WorkflowRun.objects.for_subject(thing).order_by("-created_at")[:6]
    run = run_about(thing)
    sql, parameters = runs.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
        plan = json.dumps(cursor.fetchone())

    assert "django_hookflow_run_by_subject" in plan
    assert list(runs) == [run]


def test_the_fact_stays_when_the_payload_goes(hookflow: Hookflow) -> None:
    run = hookflow.drive(run_about(thing := entry()).run_id)
    run.redact(reason="asked to")
    assert list(diff(run.run_id)) == []
    assert list(WorkflowRun.objects.for_subject(thing)) == [run]
    assert isinstance(run.pk, UUID)
    assert ask("SELECT count(*) FROM django_hookflow_workflowrun WHERE subjects IS NULL") == [{"count": 0}]
    assert Group.objects.count() == User.objects.count() == 0
