"""Says at the end of a test run how much was tried: what tests have recorded as a property, one line each.

A pytest plugin: named in ``pytest_plugins`` of the top-level conftest it also works where the tests run in processes of
their own, whose output is not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PROPERTIES = ("crash points", "schedules")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{name}: {value} ({report.nodeid.rpartition('::')[2]})"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name in PROPERTIES
    ]
    if lines:
        terminalreporter.section("crashes and schedules")
        for line in lines:
            terminalreporter.line(line)
