"""The pages under other themes of the admin, each in a server process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User

from django_hookflow.testing import Hookflow
from tests.browser import stories
from tests.browser.axe import find_barriers
from tests.browser.conftest import NARROW, WIDE, open_page
from tests.checkout import REPOSITORY
from tests.testapp.models import LedgerEntry
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from django_hookflow.models import WorkflowRun

pytestmark = pytest.mark.django_db(transaction=True)

THEMES = ["unfold", "jazzmin"]
RUNS = "/admin/django_hookflow/workflowrun/"
#: Whether an element is what one sees, or touches, in its middle.
ON_TOP = """element => {
    element.scrollIntoView({block: "center"});
    const box = element.getBoundingClientRect();
    const there = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    return element.contains(there);
}"""


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name) is None:
        pytest.skip(f"django-{name} is not installed: pip install django-{name}")
    return name


@pytest.fixture
def server(theme: str, process_environment: dict[str, str]) -> Iterator[str]:
    """The address of a server with that theme, on the database of the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **process_environment,
        "DJANGO_SETTINGS_MODULE": "tests.browser.themed_settings",
        "HOOKFLOW_TEST_THEME": theme,
    }
    command = [sys.executable, "-m", "django", "runserver", "--noreload", "--insecure", "--skip-checks"]
    process = subprocess.Popen([*command, f"127.0.0.1:{port}"], cwd=REPOSITORY, env=environment)
    try:
        wait_until(lambda: answers(port), f"a server on port {port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def failed() -> Iterator[WorkflowRun]:
    with Hookflow() as hookflow:
        yield stories.failed(hookflow)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_usable_under_a_theme(
    browser: Browser, server: str, theme: str, failed: WorkflowRun, scheme: str
) -> None:
    opened = open_page(browser, server, User.objects.create_superuser("root"), color_scheme=scheme, viewport=WIDE)
    page = opened.go(f"/admin/django_hookflow/workflowrun/{failed.pk}/change/")

    assert "Failed at charge, attempt 3 of 3, in the dead letters." in page.inner_text("#hookflow-head")
    assert page.locator(".hookflow-error").is_visible()
    assert page.locator(".hookflow-line").count() == 5
    bar = page.locator(".hookflow-bar").nth(4).bounding_box()
    assert bar is not None
    assert bar["width"] > 300
    assert find_barriers(page, within="#hookflow-run") == []
    page.locator("#e8 summary").click()
    assert page.locator("#e8 pre").first.is_visible()
    page.get_by_role("link", name="« first").click()
    assert "event #1 of 17" in page.inner_text("#hookflow-head")
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.getElementById('hookflow-run').getBoundingClientRect().right") <= NARROW["width"]
    assert opened.troubles == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_acting_on_a_run_under_a_theme(
    browser: Browser, server: str, theme: str, failed: WorkflowRun, scheme: str
) -> None:
    opened = open_page(browser, server, User.objects.create_superuser("root"), color_scheme=scheme, viewport=NARROW)
    page = opened.go(f"{RUNS}{failed.pk}/operate/rewind/")

    assert page.get_by_role("heading", name=f"Rewind: run {failed.run_id}").is_visible()
    assert find_barriers(page, within="#content-main") == []
    assert_framed(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.get_by_label("Run again from step").select_option("reserve-stock")
    page.get_by_label("Reason").fill("the stock was wrong")
    page.locator(".hookflow-do").click()
    page.wait_for_url(f"**{RUNS}{failed.pk}/change/")

    assert failed.events.get(type="run.rewound").payload["reason"] == "the stock was wrong"
    assert opened.troubles == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_acting_on_many_runs_under_a_theme(
    browser: Browser, server: str, theme: str, failed: WorkflowRun, scheme: str
) -> None:
    opened = open_page(browser, server, User.objects.create_superuser("root"), color_scheme=scheme, viewport=WIDE)
    page = opened.go(f"{RUNS}?workflow={failed.workflow_id}")

    assert find_barriers(page, within=".hookflow-list") == []
    page.locator("input.action-select").check()
    page.locator("select[name=action]").first.select_option("pause_selected")
    page.locator("button[name=index]").first.click()
    page.get_by_role("heading", name="Pause 1 run?").wait_for()
    assert find_barriers(page, within="#content-main") == []
    assert_framed(page)
    page.get_by_label("Reason").fill("flood")
    page.locator(".hookflow-do").click()
    page.get_by_text("Done: 0 paused, 1 refused.").wait_for()

    assert page.locator(".hookflow-counts td").all_inner_texts() == ["0", "0", "1"]
    assert "it is failed" in page.locator(".hookflow-refusals").inner_text()
    assert find_barriers(page, within="#content-main") == []
    assert opened.troubles == []
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_other_pages_under_a_theme(
    browser: Browser, server: str, theme: str, failed: WorkflowRun, scheme: str
) -> None:
    thing = LedgerEntry.objects.create(account="Order 1", amount=1)
    stories.process_order.trigger({}, "about", subject=thing)
    opened = open_page(browser, server, User.objects.create_superuser("root"), color_scheme=scheme, viewport=WIDE)
    for address in ("activity/", "start/", f"{failed.pk}/compare/", f"{failed.pk}/proof/", f"{failed.pk}/start/"):
        page = opened.go(f"{RUNS}{address}")
        assert page.locator(".hookflow h1").is_visible(), address
        assert find_barriers(page, within="#content-main") == [], address
        assert_framed(page)
    page = opened.go(f"/admin/testapp/ledgerentry/{thing.pk}/change/")
    assert find_barriers(page, within=".hookflow-about") == []
    page.get_by_role("link", name="Runs", exact=True).click()
    page.wait_for_url("**subject=testapp.ledgerentry**")
    assert page.get_by_role("link", name="about").count() == 1
    assert opened.troubles == []
    page.context.close()


def test_the_list_on_a_narrow_screen_under_a_theme(
    browser: Browser, server: str, theme: str, failed: WorkflowRun
) -> None:
    opened = open_page(browser, server, User.objects.create_superuser("root"), viewport=NARROW)
    page = opened.go(RUNS)

    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    words = [page.get_by_role("link", name=failed.run_id), page.locator("#result_list .hookflow-status")]
    boxes = [word.bounding_box() for word in words]
    assert all(box is not None and box["x"] >= 0 and box["x"] + box["width"] <= NARROW["width"] for box in boxes)
    for word in words:  # nothing lies on it
        assert word.evaluate(ON_TOP)
    assert opened.troubles == []
    page.context.close()


def test_a_time_is_chosen_under_a_theme(browser: Browser, server: str, theme: str, failed: WorkflowRun) -> None:
    opened = open_page(browser, server, User.objects.create_superuser("root"), viewport=WIDE)
    page = opened.go(f"{RUNS}?workflow={failed.workflow_id}&status__exact=failed")

    if theme == "unfold":
        page.get_by_text("Filters").first.click()
    page.get_by_label("From", exact=True).fill("2000-01-01T00:00:00")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**since=2000**")

    asked = parse_qs(urlsplit(page.url).query)
    assert asked["workflow"] == [failed.workflow_id]
    assert asked["status__exact"] == ["failed"]
    assert page.locator("input.action-select").count() == 1
    page.context.close()


def assert_framed(page: Page) -> None:
    """What is to be filled in, and what is to be pressed, can be seen to be that."""
    for control in page.locator(".hookflow-field :is(textarea, select), .hookflow-submit > *").all():
        assert control.evaluate("e => parseFloat(getComputedStyle(e).borderTopWidth)") > 0
