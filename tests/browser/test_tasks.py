"""What an operator wants from the lists, done by clicks and counted: at most four, six where something is done to runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from django_hookflow import WorkflowContext, workflow
from django_hookflow.events import log
from django_hookflow.models import WorkflowEvent, WorkflowRun
from django_hookflow.registry import forget_local_workflows, registered_workflows
from tests.admin.history import event, fail, sleep, start
from tests.browser.axe import find_barriers
from tests.browser.conftest import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from playwright.sync_api import Locator, Page

    from tests.browser.conftest import Opened

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

RUNS, DEAD_LETTERS = "/admin/django_hookflow/workflowrun/", "/admin/django_hookflow/deadletterentry/"
FLOWS = ("shop.orders.process", "shop.payments.payout", "billing.invoices.monthly", "crm.sync", "reports.nightly")
STEPS = {"validate": 0.02, "reserve-stock": 0.4, "charge": 3.0, "ship": 1.0}
CAUSES: list[tuple[str, dict[str, str]]] = [
    ("charge", {"type": "shop.errors.CardDeclined", "message": "the card was declined", "traceback": "…"}),
    ("reserve-stock", {"type": "shop.errors.OutOfStock", "message": "article A-17 is sold out", "traceback": "…"}),
    ("ship", {"type": "requests.ConnectionError", "message": "no connection to the carrier " * 20, "traceback": "…"}),
]


@dataclass
class Hand:
    """Clicks, and says how many it has been."""

    page: Page
    clicks: int = 0

    def click(self, what: Locator) -> None:
        what.first.click()
        self.clicks += 1

    def link(self, name: Any, **how: Any) -> None:
        self.click(self.page.get_by_role("link", name=name, **how))

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True))


@pytest.fixture
def week() -> Iterator[dict[str, UUID]]:
    """A hundred runs of five workflows over a week: of ten, three failed and two sleep; five wait for a relay."""
    known = registered_workflows()
    for name in FLOWS:
        workflow(workflow_id=name)(nothing)
    chance, now, runs = random.Random(7), timezone.now(), {}
    for number in range(100):
        data = {"customer": {"name": "Grace Hopper" if number == 77 else "Ada"}, "order": number}
        run = runs[f"order-{number}"] = start(f"order-{number}", FLOWS[number % 5], data)
        took = {step: seconds * chance.random() for step, seconds in STEPS.items()}
        done = [event("step.completed", step, kind="run", attempt=1, took=each) for step, each in took.items()]
        log.append(run, None, done)
        if number % 10 < 3:
            fail(run, *CAUSES[number % 10])
        elif number % 10 < 5:
            sleep(run, 86_400)
        age(run, now - timedelta(hours=(100 - number) * 1.6))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_hookflow_outbox SET send_at = now() + interval '1 day', due_at = now() + interval '1 day'"
        )
        stuck = [runs[f"order-{number}"] for number in range(5, 10)]
        cursor.execute(
            "UPDATE django_hookflow_outbox SET send_at = now() - interval '51 min', due_at = now() - interval '51 min' "
            "WHERE run_uid = ANY(%s)",
            [stuck],
        )
    yield runs
    forget_local_workflows(known)


def nothing(ctx: WorkflowContext) -> None:
    """Does nothing: these runs are not driven."""


def age(run: UUID, moment: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_hookflow_workflowrun SET created_at = %s WHERE id = %s", [moment, run])
        cursor.execute(
            "UPDATE django_hookflow_workflowrun SET completed_at = %s WHERE id = %s AND completed_at IS NOT NULL",
            [moment, run],
        )
        cursor.execute("UPDATE django_hookflow_deadletterentry SET created_at = %s WHERE run_uid = %s", [moment, run])


@pytest.fixture
def hand(week: dict[str, UUID], browser_page: Callable[..., Opened]) -> Hand:
    return Hand(browser_page().go(RUNS))


def test_how_many_failed_since_nine_and_of_how_many_causes(hand: Hand) -> None:
    hand.link("Failed")
    hand.page.get_by_label("From", exact=True).fill(
        (timezone.localtime() - timedelta(hours=40)).strftime("%Y-%m-%dT%H:%M")
    )
    hand.button("Apply")
    hand.page.wait_for_url("**since=**")

    failed = WorkflowRun.objects.filter(status="failed", created_at__gte=timezone.now() - timedelta(hours=40)).count()
    assert hand.page.locator(".hookflow-causes h2").inner_text().startswith(f"{failed} failures, 3 causes since")
    assert hand.clicks <= 4


def test_one_cause_is_replayed_and_the_others_are_not(hand: Hand) -> None:
    hand.link("Failed")
    cause = hand.page.locator(".hookflow-causes tbody tr", has_text="CardDeclined")
    hand.click(cause.get_by_role("button", name="Replay these 10"))
    hand.page.get_by_label("Reason").fill("the bank is back")
    hand.button("Replay 10 dead letters")
    hand.page.get_by_text("Done: 10 replayed.").wait_for()

    still_failed = (
        WorkflowRun.objects.filter(status="failed").values_list("error_type", flat=True).order_by("error_type")
    )
    assert list(still_failed) == ["requests.ConnectionError"] * 10 + ["shop.errors.OutOfStock"] * 10
    assert hand.clicks <= 6


def test_the_slowest_step_of_the_week(hand: Hand) -> None:
    hand.link("Steps: where the time goes")
    hand.page.wait_for_url("**/steps/**")

    assert hand.page.locator(".hookflow-tab[aria-current]").inner_text() == "Last 7 days"
    assert hand.page.locator(".hookflow-steps-table tbody th code").first.inner_text() == "charge"
    hand.click(hand.page.locator(".hookflow-steps-table tbody tr").first.locator("td").last.get_by_role("link"))
    hand.page.wait_for_url("**/change/")
    assert hand.clicks <= 4


def test_what_is_stuck_and_why(hand: Hand) -> None:
    assert "5 runs wait" in hand.page.locator(".hookflow-banner").inner_text()
    hand.link("Stuck runs")
    hand.page.wait_for_url("**state=stuck")

    why = hand.page.locator("#result_list .hookflow-stuck").all_inner_texts()
    assert why == ["Its turn was due 51 min ago, and no relay has taken it."] * 5
    assert hand.clicks <= 4


def test_all_sleepers_of_one_workflow_are_cancelled(hand: Hand) -> None:
    sleepers = WorkflowRun.objects.filter(waits__kind="sleep", workflow_id="crm.sync")
    number = sleepers.count()
    assert number > 0
    hand.link("Sleeping")
    hand.link("crm.sync")
    hand.page.wait_for_url("**workflow=crm.sync**")
    hand.click(hand.page.locator("#action-toggle"))
    hand.page.locator("select[name=action]").first.select_option("cancel_selected")
    hand.clicks += 1
    hand.click(hand.page.locator("button[name=index]"))
    hand.page.get_by_label("Reason").fill("the customer is gone")
    assert hand.page.get_by_role("link", name="Keep them").is_visible()
    hand.button(f"Cancel {number} runs")
    hand.page.get_by_text(f"Done: {number} cancelled.").wait_for()

    assert WorkflowEvent.objects.filter(type="run.cancelled", actor="root").count() == number
    assert sleepers.count() == 0
    assert hand.clicks <= 6


def test_a_run_is_found_by_something_in_its_data_without_the_mouse(hand: Hand) -> None:
    hand.page.keyboard.press("/")
    hand.page.keyboard.type('data.customer.name:"Grace Hopper"')
    hand.page.keyboard.press("Enter")
    hand.page.wait_for_url("**q=**")

    assert hand.page.locator("#result_list .field-run a").all_inner_texts() == ["order-77"]
    assert hand.clicks == 0


def test_an_id_is_copied(hand: Hand) -> None:
    hand.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    row = hand.page.locator("#result_list tbody tr").first
    row.hover()
    row.get_by_role("button", name="Copy order-99").click()

    row.get_by_text("Copied").wait_for()
    assert hand.page.evaluate("navigator.clipboard.readText()") == "order-99"


@pytest.mark.parametrize("options", [{"java_script_enabled": False}, {}], ids=["no scripts", "scripts"])
def test_a_run_is_found_by_its_id_in_the_address_and_one_that_is_almost_right_is_offered(
    week: dict[str, UUID], browser_page: Callable[..., Opened], options: dict[str, Any]
) -> None:
    opened = browser_page(**options)

    assert opened.go(f"{RUNS}order-77/").locator("h1, h2").get_by_text("order-77").count() > 0
    page = opened.go(f"{RUNS}ordr-77/")
    page.locator(".hookflow-empty").get_by_role("link", name="order-77", exact=True).click()
    page.wait_for_url("**q=order-77")
    assert page.locator("#result_list .field-run a").all_inner_texts() == ["order-77"]


PAGES = {
    "list": RUNS,
    "failed": f"{RUNS}?status__exact=failed",
    "stuck": f"{RUNS}?state=stuck",
    "no match": f"{RUNS}?q=ordr-77",
    "dead letters": DEAD_LETTERS,
    "steps": f"{RUNS}steps/?when=week",
}


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "dark", "viewport": WIDE},
        {"color_scheme": "dark", "viewport": {"width": 375, "height": 812}},
        {"forced_colors": "active", "viewport": WIDE},
    ],
    ids=["light 1280", "dark", "dark 375", "forced"],
)
def test_every_list_has_no_barrier_and_fits(
    week: dict[str, UUID], browser_page: Callable[..., Opened], options: dict[str, Any]
) -> None:
    opened = browser_page(bypass_csp=True, **options)  # for axe, which adds styles
    for name, url in PAGES.items():
        page = opened.go(url)
        parts = [part for part in (".hookflow", "#result_list") if page.locator(part).count()]
        assert [barrier for part in parts for barrier in find_barriers(page, part)] == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"], name
        for table in page.locator("#changelist .results").all():
            assert table.evaluate("element => element.scrollWidth <= element.clientWidth"), name


@pytest.mark.parametrize("size", [{"width": 1400, "height": 900}, {"width": 375, "height": 812}, NARROW])
def test_the_first_row_is_on_the_first_screen(
    week: dict[str, UUID], browser_page: Callable[..., Opened], size: dict[str, int]
) -> None:
    opened = browser_page(viewport=size)
    for name in ("list", "failed", "stuck", "dead letters"):
        page = opened.go(PAGES[name])
        box = page.locator("#result_list tbody tr").first.bounding_box()
        assert box is not None
        assert box["y"] + 20 < size["height"], name
