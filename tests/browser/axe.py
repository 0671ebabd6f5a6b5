"""The accessibility scan: axe-core, in whatever page is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: What a scan must not find.
GRAVE = ("serious", "critical")


def find_barriers(page: Page, within: str = "#content") -> list[str]:
    """What is serious or worse in a part of the page, a line each."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-core is not installed: pip install axe-playwright-python"
    )
    found = axe.Axe().run(page, context=within).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]
