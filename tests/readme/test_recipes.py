"""The workflows of the recipes, each taken through what its text says."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_hookflow import Workflow
from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.readme.shop import Shop
from tests.readme.snippets import find_block
from tests.readme.test_snippets import shows

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86_400


@pytest.fixture
def mails() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def approve_expense(mails: list[tuple[str, str]], settings: Any) -> Workflow:
    settings.DJANGO_HOOKFLOW_DOMAIN = "https://shop.example"

    def mail_decision_link(person: str, amount: int, url: str) -> None:
        mails.append((person, url))

    block = find_block("Approval, with a reminder and escalation")
    workflow: Workflow = block.run(mail_decision_link=mail_decision_link)["approve_expense"]
    return workflow


@shows("Approval, with a reminder and escalation")
def test_an_approval_after_a_reminder(
    hookflow: Hookflow, approve_expense: Workflow, mails: list[tuple[str, str]]
) -> None:
    run_id = approve_expense.trigger({"amount": 900})
    hookflow.deliver(run_id)
    hookflow.advance(2 * DAY + 60)
    assert hookflow.deliver(run_id).answer == "suspended"
    assert [person for person, _ in mails] == ["manager", "manager"]
    first_link = mails[0][1].removeprefix("https://shop.example")
    answer = Client(enforce_csrf_checks=True).post(first_link, {"approved": True}, content_type="application/json")
    assert answer.status_code == 200
    assert hookflow.drive(run_id).result == {"approved": True, "asked": 2}


def test_an_approval_that_nobody_gives(
    hookflow: Hookflow, approve_expense: Workflow, mails: list[tuple[str, str]]
) -> None:
    run = hookflow.run(approve_expense, {"amount": 900})
    assert run.result == {"approved": False, "asked": 3}
    assert [person for person, _ in mails] == ["manager", "manager", "director"]


@shows("Many requests to an API with a rate limit")
def test_batches_with_pauses(hookflow: Hookflow) -> None:
    asked: list[int] = []

    def fetch_quote(sku: int) -> int:
        asked.append(sku)
        if sku == 7 and asked.count(7) == 1:
            raise ConnectionError("away")
        return 1000 - sku

    collect_quotes: Workflow = find_block("Many requests to an API with a rate limit").run(fetch_quote=fetch_quote)[
        "collect_quotes"
    ]
    run = hookflow.run(collect_quotes, {"skus": list(range(120))})
    assert (run.status, run.result) == ("completed", 881)
    assert sorted(asked) == sorted([*range(120), 7])
    waits = run.events.filter(type="step.suspended").order_by("seq")
    assert [event.step_id for event in waits if event.facts["kind"] == "sleep"] == ["pause-50", "pause-100"]


@shows("A saga: undo what was done when a later step fails")
def test_a_saga(hookflow: Hookflow, names: dict[str, Any], shop: Shop) -> None:
    book_trip: Workflow = find_block("A saga: undo what was done when a later step fails").run(**names)["book_trip"]
    hookflow.crash("cancel-flight", "before")
    run = hookflow.run(book_trip, {"to": "Rome"})
    assert (run.status, run.result) == ("completed", {"booked": False, "because": "no room in Rome"})
    assert shop.calls == ["cancel_flight"]
    hookflow.stub("hotel", "hotel in Rome")
    assert (hookflow.run(book_trip, {"to": "Rome"}).result or {})["booked"]


@shows("A subscription that renews for years")
def test_a_subscription(hookflow: Hookflow) -> None:
    charged: list[int] = []
    block = find_block("A subscription that renews for years")
    subscription: Workflow = block.run(charge_month=lambda customer, month: charged.append(month))["subscription"]
    first = hookflow.run(subscription, {"customer": 3, "month": 1})
    assert first.status == "completed"
    second = WorkflowRun.objects.exclude(pk=first.pk).get()
    hookflow.deliver(second.run_id)
    second.signal("cancel")
    assert hookflow.drive(second.run_id).result == {"months": 2}
    assert charged == [1, 2]


@shows("Polling")
def test_polling(hookflow: Hookflow) -> None:
    states = ["working"] * 18 + ["done"]
    block = find_block("Polling")
    render_video: Workflow = block.run(
        start_rendering=lambda video, key: video, look_at_rendering=lambda job: states.pop(0)
    )["render_video"]
    run = hookflow.run(render_video, {"video": "a"})
    assert (run.status, run.result, states) == ("completed", "done", [])
    assert run.completed_at is not None
    assert 9 * 3600 < (run.completed_at - run.created_at).total_seconds() < DAY
