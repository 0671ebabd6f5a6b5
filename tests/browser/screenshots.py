"""``make screenshots``: the README's pictures, taken of the demo in Chromium, light and dark."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.browser.chromium import ARGUMENTS, CHROMIUM
from tests.demo.running import REPOSITORY, RunningDemo

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PICTURES = REPOSITORY / ".github" / "pictures"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> int:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("playwright is not installed: make test installs it", file=sys.stderr)
        return 1
    if CHROMIUM is None:
        print("chromium is not installed (Debian, Ubuntu: apt-get install chromium)", file=sys.stderr)
        return 1
    PICTURES.mkdir(parents=True, exist_ok=True)
    with RunningDemo() as demo, sync_playwright() as playwright:
        demo.wait_for("login", timeout=120)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for scheme in SCHEMES:
            take(browser, demo.output, scheme)
        browser.close()
    print(f"pictures written to {PICTURES.relative_to(Path.cwd())}")
    return 0


def take(browser: Browser, printed: str, scheme: Literal["light", "dark"]) -> None:
    runs = _find(r"^  admin \.+ (\S+)", printed)
    user, password = _find(r"^  login \.+ (.+)", printed).split(" / ")
    page = browser.new_page(viewport={"width": 1500, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(runs)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(runs)
    page.screenshot(path=PICTURES / f"list-{scheme}.png")
    page.locator("#result_list a", has_text="order-1").click()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=PICTURES / f"run-{scheme}.png")
    page.close()


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, text
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
