"""The page of a run under other themes of the admin, each in a server process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User

from django_hookflow.testing import Hookflow
from tests.browser import stories
from tests.browser.axe import find_barriers
from tests.browser.conftest import NARROW, WIDE, open_page
from tests.checkout import REPOSITORY
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from django_hookflow.models import WorkflowRun

pytestmark = pytest.mark.django_db(transaction=True)

THEMES = ["unfold", "jazzmin"]


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
    assert page.locator("#e8 pre").is_visible()
    page.get_by_role("link", name="« first").click()
    assert "event #1 of 13" in page.inner_text("#hookflow-head")
    page.set_viewport_size(NARROW)
    assert page.evaluate("document.getElementById('hookflow-run').getBoundingClientRect().right") <= NARROW["width"]
    assert opened.troubles == []
    page.context.close()
