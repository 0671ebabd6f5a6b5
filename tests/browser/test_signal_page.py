"""The page of a signed link, in a browser: readable, and usable without a mouse, a script or a wide screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow import WorkflowContext, workflow
from django_hookflow.models import WorkflowEvent
from django_hookflow.testing import Hookflow
from tests.browser.axe import find_barriers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import Opened

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def path(hookflow: Hookflow, settings: Any) -> str:
    settings.DJANGO_HOOKFLOW_DOMAIN = "https://app.example.com"
    urls: list[str] = []

    @workflow(workflow_id="tests.browser.asking")
    def asking(ctx: WorkflowContext) -> Any:
        urls.append(ctx.signal_url("approval-of-something-with-a-very-long-name" + "x" * 100))
        return ctx.step.wait_for_signal("approval")

    hookflow.deliver(asking.trigger())
    return urls[0].removeprefix("https://app.example.com") + "?decision=approve&note=" + "y" * 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable(browser_page: Callable[..., Opened], path: str, scheme: str) -> None:
    page = browser_page(color_scheme=scheme, viewport={"width": 375, "height": 700}).go(path)
    assert find_barriers(page, "html") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    is_dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    assert page.evaluate(is_dark) is (scheme == "dark")
    box = page.get_by_role("button", name="Send").bounding_box()
    assert box is not None
    assert box["height"] >= 44


def test_it_works_without_scripts(browser_page: Callable[..., Opened], path: str) -> None:
    page = browser_page(java_script_enabled=False).go(path)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    [event] = WorkflowEvent.objects.filter(type="signal.received")
    assert event.payload["value"] == {"decision": "approve", "note": "y" * 200}
