"""From a thing of the project to its runs and back, in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowRun
from tests.admin.conftest import RUNS, count_queries
from tests.admin.page import facts, parse
from tests.admin.test_run_list import ids
from tests.testapp.models import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from django_hookflow.testing import Hookflow

pytestmark = pytest.mark.django_db

THINGS = "/admin/testapp/ledgerentry/"


@workflow(workflow_id="tests.admin.subjects")
def about(ctx: WorkflowContext) -> str:
    return "done"


@pytest.fixture
def thing(db: None) -> LedgerEntry:
    return LedgerEntry.objects.create(account="cash <b>", amount=7)


def trigger(run_id: str, subject: object) -> WorkflowRun:
    about.trigger({}, run_id, subject=subject)  # type: ignore[arg-type]
    return WorkflowRun.objects.get(run_id=run_id)


def test_from_a_thing_to_its_runs_and_back(hookflow: Hookflow, superuser: Client, thing: LedgerEntry) -> None:
    runs = [trigger(f"order-{n}", thing) for n in range(7)]
    other = trigger("other", LedgerEntry.objects.create(account="bank", amount=1))

    page = parse(superuser.get(f"{THINGS}{thing.pk}/change/"))
    rows = page.one("section", **{"aria-labelledby": "hookflow-runs-title"}).rows()
    assert [row[0] for row in rows] == [f"order-{n}" for n in (6, 5, 4, 3, 2)]
    (link,) = page.all("a", **{"class": "hookflow-runs-link"})
    assert {other.run_id} & {*[row[0] for row in rows]} == set()
    assert sorted(ids(parse(superuser.get(link.attributes["href"])))) == [run.run_id for run in runs]

    page = parse(superuser.get(f"{RUNS}{runs[0].pk}/change/"))
    assert facts(page)["Subject"] == "Ledger entry cash <b>: 7"
    back = [a.attributes["href"] for a in page.one("header", **{"class": "hookflow-head"}).all("a")]
    assert f"{THINGS}{thing.pk}/change/" in back


def test_several_things_some_of_them_gone_or_without_a_page(
    hookflow: Hookflow, superuser: Client, thing: LedgerEntry
) -> None:
    group = Group.objects.create(name="buyers")
    gone = LedgerEntry.objects.create(account="bank", amount=1)
    run = trigger("order-1", [thing, group, gone])
    key, _ = gone.pk, gone.delete()

    shown = facts(parse(superuser.get(f"{RUNS}{run.pk}/change/")))["Subjects"]

    assert shown == f"Ledger entry cash <b>: 7, Group buyers, Ledger entry {key} (deleted)"


def test_a_thing_without_runs_says_so(superuser: Client, thing: LedgerEntry) -> None:
    page = parse(superuser.get(f"{THINGS}{thing.pk}/change/"))
    assert "No runs for this object." in page.text
    assert parse(superuser.get(f"{THINGS}add/")).all("section", **{"aria-labelledby": "hookflow-runs-title"}) == []


def test_who_may_not_see_runs_sees_none_and_who_may_not_see_the_thing_sees_its_key(
    hookflow: Hookflow, staff: Callable[..., Client], thing: LedgerEntry
) -> None:
    run = trigger("order-1", thing)
    client = staff("view_workflowrun")
    page = parse(client.get(f"{RUNS}{run.pk}/change/"))
    assert facts(page)["Subject"] == f"Ledger entry {thing.pk}"
    assert f"{THINGS}{thing.pk}/change/" not in str(page)

    from django.contrib.auth.models import Permission, User

    user = User.objects.get(username="staff")
    user.user_permissions.set(Permission.objects.filter(codename="view_ledgerentry"))
    answer = client.get(f"{THINGS}{thing.pk}/change/")
    assert answer.status_code == 200
    assert b"order-1" not in answer.content
    assert b"hookflow-runs-link" not in answer.content


def test_an_address_that_names_no_subject_matches_nothing(hookflow: Hookflow, superuser: Client) -> None:
    trigger("order-1", None)
    for asked in ("shop.order:1", "nonsense", ":", "testapp.ledgerentry:" + "9" * 400, '"}]'):
        assert ids(parse(superuser.get(RUNS, {"subject": asked}))) == []


def test_the_page_of_a_thing_costs_one_query_more(hookflow: Hookflow, superuser: Client, thing: LedgerEntry) -> None:
    for n in range(3):
        trigger(f"order-{n}", thing)
    with count_queries() as statements:
        superuser.get(f"{THINGS}{thing.pk}/change/")
    assert len([statement for statement in statements if "django_hookflow_" in statement]) == 1


@pytest.mark.parametrize("fault", ["its name", "its table"])
def test_a_thing_that_cannot_be_shown_does_not_hide_the_run(
    hookflow: Hookflow, superuser: Client, thing: LedgerEntry, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The project's ``__str__`` raises, or its table is not there: the page has the model and the key."""
    run = trigger("order-1", [thing, Group.objects.create(name="buyers")])
    if fault == "its name":
        monkeypatch.setattr(LedgerEntry, "__str__", lambda entry: entry.missing)
    else:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE testapp_ledgerentry RENAME TO testapp_elsewhere_now")

    shown = facts(parse(superuser.get(f"{RUNS}{run.pk}/change/")))["Subjects"]

    assert shown == f"Ledger entry {thing.pk}, Group buyers"
