"""The list of runs in a browser: light, dark, narrow, without JavaScript, by keyboard, under a strict policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.listing import fill
from tests.browser.axe import find_barriers
from tests.browser.conftest import NARROW, WIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Opened

RUNS = "/admin/django_hookflow/workflowrun/"
RUNS_MADE = 2_500
FAILED = 60
#: What is ours of the page.
PARTS = [".hookflow-list", "#result_list", ".hookflow-time", ".paginator"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(autouse=True)
def runs(transactional_db: None) -> None:
    fill(RUNS_MADE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_list_has_no_barrier(browser_page: Callable[..., Opened], scheme: str, size: dict[str, int]) -> None:
    page = browser_page(color_scheme=scheme, viewport=size, bypass_csp=True).go(RUNS)  # for axe, which adds styles

    assert [barrier for part in PARTS for barrier in find_barriers(page, part)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_list_is_no_wider_than_the_screen(
    browser_page: Callable[..., Opened], scheme: str, size: dict[str, int]
) -> None:
    page = browser_page(color_scheme=scheme, viewport=size).go(RUNS)

    assert page.locator("#result_list tbody tr").count() == 50
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_a_run_is_found_by_tab_time_and_search_without_javascript(browser_page: Callable[..., Opened]) -> None:
    page = browser_page(java_script_enabled=False).go(RUNS)

    page.get_by_role("navigation", name="Runs by status").get_by_role("link", name=f"Failed {FAILED}").click()
    assert f"{FAILED} workflow runs" in page.locator(".paginator").inner_text()
    page.get_by_role("link", name="Last 7 days").click()
    assert "when=week" in page.url
    assert "status__exact=failed" in page.url
    page.locator("#searchbar").fill("customer-9")
    page.locator("#searchbar").press("Enter")
    found = page.locator("#result_list tbody tr")
    assert found.count() > 0
    assert all("customer-9" in text for text in found.locator(".hookflow-label").all_inner_texts())
    page.get_by_role("link", name="Clear the search").click()
    assert "q=" not in page.url


def test_a_time_is_chosen_in_the_form_by_keyboard(browser_page: Callable[..., Opened]) -> None:
    page = browser_page().go(f"{RUNS}?status__exact=failed")

    page.get_by_label("From", exact=True).fill("2000-01-01T00:00:00")
    page.get_by_label("To", exact=True).fill("2000-01-02T00:00:00")
    page.get_by_role("button", name="Apply").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**since=2000**")

    assert "0 workflow runs" in page.locator(".paginator").inner_text()
    assert page.get_by_label("From", exact=True).input_value() == "2000-01-01T00:00"
    assert "status__exact=failed" in page.url


def test_the_last_page_leads_on_to_older_runs(browser_page: Callable[..., Opened]) -> None:
    page: Any = browser_page().go(f"{RUNS}?p=20")
    last = page.locator("#result_list tbody tr .field-run a").last.inner_text()

    page.get_by_role("link", name="Older runs").click()
    page.wait_for_url("**until=**")

    assert page.locator("#result_list tbody tr .field-run a").first.inner_text() == last
