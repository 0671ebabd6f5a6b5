"""What somebody comes for with one run in mind, and with how many clicks they have it. Sending a form by Enter is one, too."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from django_hookflow.models import WorkflowRun
from django_hookflow.testing import Hookflow
from tests.browser import stories
from tests.browser.axe import find_barriers
from tests.evidence.checkpointing import SECRET
from tests.evidence.exporting import run_audit
from tests.testapp.models import LedgerEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Locator, Page, ViewportSize
    from pytest_django import Settings

    from tests.browser.conftest import Opened

    Open = Callable[..., Opened]

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/django_hookflow/workflowrun/"
PHONE: ViewportSize = {"width": 375, "height": 812}
MOST = 4


@pytest.fixture
def kit(settings: Settings) -> Iterator[Hookflow]:
    settings.DJANGO_HOOKFLOW_APP_VERSION = "2026.11.3"
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = SECRET
    with Hookflow() as hookflow:
        yield hookflow


@pytest.fixture
def order(kit: Hookflow) -> LedgerEntry:
    """What the failed run is about; beside it there is one that completed."""
    stories.completed(kit)
    thing = LedgerEntry.objects.create(account="Order 1043", amount=89)
    stories.TRIES.clear()
    stories.process_order.trigger(
        stories.data("declined"), "order-1043", label="Order 1043", subject=thing, actor="grace"
    )
    kit.drive("order-1043")
    return thing


@pytest.fixture
def failed(order: LedgerEntry) -> WorkflowRun:
    return WorkflowRun.objects.get(run_id="order-1043")


class Person:
    """Counts clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, what: Locator) -> None:
        self.clicks += 1
        what.click()
        self.page.wait_for_load_state()

    def link(self, name: str) -> None:
        self.click(self.page.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str) -> None:
        self.click(self.page.get_by_role("button", name=name, exact=True).first)

    def send(self, field: Locator, text: str) -> None:
        self.clicks += 1
        field.fill(text)
        field.press("Enter")
        self.page.wait_for_load_state()

    def sees(self, *words: str) -> None:
        for each in words:
            self.page.get_by_text(each).first.wait_for()

    def open_run(self, run_id: str) -> None:
        self.click(self.page.locator("#result_list a", has_text=run_id).first)
        self.page.locator("#hookflow-run").wait_for()


def at_the_list(browser_page: Open, **options: Any) -> Person:
    return Person(browser_page(**options).go(RUNS))


@pytest.mark.parametrize(
    "options", [{}, {"viewport": PHONE}, {"java_script_enabled": False}], ids=["", "phone", "no js"]
)
def test_1_and_15_why_an_order_failed_and_replay_it(
    browser_page: Open, failed: WorkflowRun, options: dict[str, Any]
) -> None:
    person = at_the_list(browser_page, **options)
    person.send(person.page.locator("#searchbar"), "order-1043")
    person.open_run("order-1043")
    person.sees("Failed at charge", "the card ending in 4242 was declined: insufficient funds")
    person.link("Replay")
    person.page.get_by_label("Reason").fill("the card works again")
    person.button("Replay the run")

    assert failed.events.get(type="run.replayed").payload["reason"] == "the card works again"
    assert person.page.evaluate("document.documentElement.scrollWidth") <= person.page.viewport_size["width"]  # type: ignore[index]
    assert person.clicks <= MOST


def test_8_what_ada_did_today(browser_page: Open, kit: Hookflow, failed: WorkflowRun) -> None:
    failed.note("called the customer", actor="ada")
    failed.note("an answer", actor="bob")
    kit.advance(3 * 86_400)
    failed.note("called again", actor="ada")
    person = at_the_list(browser_page)
    person.link("Activity")
    person.link("Today")
    person.link("ada")

    assert "called again" in person.page.inner_text(".hookflow-activity")
    assert "called the customer" not in person.page.inner_text(".hookflow-activity")
    assert "an answer" not in person.page.inner_text(".hookflow-activity")
    assert person.clicks <= MOST


def test_9_a_run_at_a_time_of_the_day(browser_page: Open, failed: WorkflowRun) -> None:
    then = timezone.localtime(failed.created_at + datetime.timedelta(minutes=30))
    person = at_the_list(browser_page)
    person.open_run("order-1043")
    person.page.get_by_label("As of time").fill(f"{then:%Y-%m-%d %H:%M}")
    person.button("Go")

    person.sees(f"As of {then:%Y-%m-%d %H:%M}:00", "Sleeping in wait-for-payment")
    assert person.clicks <= MOST


def test_9_the_slider_says_when_its_event_was(browser_page: Open, failed: WorkflowRun) -> None:
    page = browser_page().go(f"{RUNS}{failed.pk}/change/")
    page.get_by_label("As of event").fill("5")
    at = timezone.localtime(failed.events.get(seq=5).recorded_at)
    assert page.inner_text("#hookflow-as-of-seq") == f"#5 {at:%H:%M:%S}"


def test_10_the_proof(browser_page: Open, failed: WorkflowRun, tmp_path: Path) -> None:
    person = at_the_list(browser_page)
    person.open_run("order-1043")
    person.link("Proof sheet")
    person.sees("The hash chain verifies: 17 events")
    with person.page.expect_download() as downloading:
        person.clicks += 1
        person.page.get_by_role("link", name="Download the events").click()
    downloading.value.save_as(tmp_path / "run.jsonl")

    assert run_audit(tmp_path / "run.jsonl")[0] == 0
    assert person.clicks <= MOST


def test_11_compare_with_the_last_that_completed(browser_page: Open, failed: WorkflowRun) -> None:
    person = at_the_list(browser_page)
    person.open_run("order-1043")
    person.link("Compare")

    person.sees("order-1042", "2 of 5 steps differ.")
    marked = person.page.locator(".hookflow-compare-steps .hookflow-differs th")
    assert marked.all_inner_texts() == ["charge", "ship"]
    assert person.clicks <= MOST


def test_12_from_the_order_to_its_runs_and_back(browser_page: Open, order: LedgerEntry) -> None:
    there = f"/admin/testapp/ledgerentry/{order.pk}/change/"
    person = Person(browser_page().go(there))
    person.link("Runs")
    assert person.page.locator("#result_list tbody tr").count() == 1
    person.open_run("order-1043")
    person.link("Order 1043: 89")

    assert person.page.url.endswith(there)
    assert person.clicks <= MOST


def test_13_start_one_by_hand(browser_page: Open, kit: Hookflow) -> None:
    person = at_the_list(browser_page)
    person.link("Start a run")
    person.page.get_by_label("Workflow").select_option("shop.process_order")
    person.page.get_by_label("Data, as a JSON object").fill('{"id": "7", "payment": "fine", "lines": []}')
    person.page.get_by_label("Reason").fill("by telephone")
    person.button("Start the run")

    person.sees("The run has been started.")
    assert WorkflowRun.objects.get().data["id"] == "7"
    assert person.clicks <= MOST


def test_14_which_code_ran_it(browser_page: Open, failed: WorkflowRun) -> None:
    person = at_the_list(browser_page)
    person.open_run("order-1043")

    person.sees("Code version", "2026.11.3")
    assert person.clicks <= MOST


def pages_of(run: WorkflowRun, thing: LedgerEntry) -> dict[str, str]:
    return {
        "run": f"{RUNS}{run.pk}/change/",
        "run at a time": f"{RUNS}{run.pk}/change/?as_of={run.created_at:%Y-%m-%dT%H:%M:%S}.999Z",
        "activity": f"{RUNS}activity/",
        "compare": f"{RUNS}{run.pk}/compare/",
        "proof": f"{RUNS}{run.pk}/proof/",
        "start": f"{RUNS}start/",
        "again": f"{RUNS}{run.pk}/start/",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark"},
        {"forced_colors": "active"},
        {"viewport": PHONE},
        {"viewport": {"width": 1920, "height": 1000}},
    ],
    ids=["light", "dark", "forced", "phone", "wide"],
)
def test_no_page_has_a_barrier_or_is_wider_than_the_screen(
    browser_page: Open, failed: WorkflowRun, order: LedgerEntry, options: dict[str, Any]
) -> None:
    opened = browser_page(bypass_csp=True, **options)  # for axe, which adds styles of its own
    found = {}
    for name, address in pages_of(failed, order).items():
        page = opened.go(address)
        for details in page.query_selector_all(".hookflow details:not([open])"):
            details.evaluate("e => { e.open = true }")
        barriers = find_barriers(page, within=".hookflow")
        width = page.evaluate("document.documentElement.scrollWidth")
        if barriers or width > page.viewport_size["width"]:  # type: ignore[index]
            found[name] = (barriers, width)
    opened.go(f"/admin/testapp/ledgerentry/{order.pk}/change/")
    assert find_barriers(opened.page, within=".hookflow") == []
    assert found == {}


def test_pages_keep_to_the_strict_policy_and_work_without_javascript(
    browser_page: Open, failed: WorkflowRun, order: LedgerEntry
) -> None:
    for options in ({}, {"java_script_enabled": False}):
        opened = browser_page(**options)
        for address in pages_of(failed, order).values():
            assert opened.go(address).locator(".hookflow").first.is_visible()


def test_copying(browser_page: Open, failed: WorkflowRun) -> None:
    page = browser_page(permissions=["clipboard-read", "clipboard-write"]).go(f"{RUNS}{failed.pk}/change/")
    page.get_by_role("button", name="Copy the run id").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "order-1043"
    without = browser_page(java_script_enabled=False).go(f"{RUNS}{failed.pk}/change/")
    assert without.locator(".hookflow-copy:visible").count() == 0


def test_who_may_only_look_is_offered_nothing_else(browser_page: Open, failed: WorkflowRun) -> None:
    from django.contrib.auth.models import Permission

    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_workflowrun"))
    page = browser_page(user).go(f"{RUNS}{failed.pk}/change/")
    assert page.locator(".hookflow-actions a").all_inner_texts() == ["Compare"]
    page = browser_page(user).go(RUNS)
    assert page.get_by_role("link", name="Start a run").count() == 0
    assert page.get_by_role("link", name="Activity").count() == 1


def test_the_proof_prints_without_what_is_for_the_screen(browser_page: Open, failed: WorkflowRun) -> None:
    page = browser_page().go(f"{RUNS}{failed.pk}/proof/")
    page.emulate_media(media="print")
    for hidden in ("#header", "#nav-sidebar", ".hookflow-downloads"):
        assert page.locator(hidden).is_hidden(), hidden
    assert page.locator(".hookflow-hash").first.is_visible()
