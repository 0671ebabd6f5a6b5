"""A browser, a server, and pages that note what goes wrong in them.

``browser_page(...)`` opens a page of its own context, logged in as a superuser, with a viewport and a colour scheme. All
responses carry ``Content-Security-Policy: default-src 'self'``; violations and errors of the console are noted on the
page and asserted at the end of the test.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore

from tests.browser.chromium import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page, ViewportSize

WIDE: ViewportSize = {"width": 1440, "height": 1000}
NARROW: ViewportSize = {"width": 390, "height": 844}

#: Runs in the page before any script of its own runs.
LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
"""


@dataclass
class Opened:
    """A page, and what has gone wrong in it so far."""

    page: Page
    server: str
    troubles: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        response = self.page.goto(f"{self.server}{path}")
        assert response is not None
        assert response.status == 200, (path, response.status)
        return self.page

    def assert_untroubled(self) -> None:
        if not self.page.is_closed():
            self.troubles += self.page.evaluate("window.violations || []")
        assert self.troubles == []


# For these tests and no longer: playwright's event loop would be in the way of tests that want one of their own.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    # Playwright runs an event loop in this thread, and Django refuses to use the database where one runs.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def make_session(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    assert session.session_key is not None
    return session.session_key


def open_page(browser: Browser, server: str, user: User, **options: Any) -> Opened:
    """A page in a context of its own, logged in as ``user``."""
    context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": make_session(user), "url": server}])
    context.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    if options.get("java_script_enabled", True):
        context.add_init_script(LISTEN)
    opened = Opened(context.new_page(), server)
    opened.page.set_default_timeout(15_000)
    opened.page.on("pageerror", lambda error: opened.troubles.append(f"error: {error}"))
    opened.page.on(
        "console", lambda line: opened.troubles.append(f"console: {line.text}") if line.type == "error" else None
    )
    return opened


@pytest.fixture
def browser_page(browser: Browser, transactional_db: None, live_server: Any) -> Iterator[Callable[..., Opened]]:
    """``browser_page(user=None, color_scheme="dark", …)``: options are playwright's for a browser context."""
    with ExitStack() as closing:

        def open_(user: User | None = None, **options: Any) -> Opened:
            user = user or User.objects.filter(username="root").first() or User.objects.create_superuser("root")
            opened = open_page(browser, live_server.url, user, **options)
            closing.callback(opened.page.context.close)
            pages.append(opened)
            return opened

        pages: list[Opened] = []
        yield open_
        for opened in pages:
            opened.assert_untroubled()
