"""What `make test` leaves to `make test-all`: whole areas by their path, and what is marked ``slow`` where it stands.

A pytest plugin. It also says how many tests were left out, which pytest does not when workers run them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Crashes at every statement and random schedules; servers that are stopped and crashed; a browser; the built wheel;
#: databases that release 0.0.4 has filled, upgraded on two servers; every command as every role; cleanups that are cut
#: short; dumps that are restored elsewhere; what a QStash does that is down or loses messages; commands that run on.
SLOW_AREAS = tuple(
    TESTS / name
    for name in (
        *("browser", "crashes", "environments", "test_packaging.py", "upgrade"),
        *("roles/test_commands.py", "roles/test_upgrade.py", "roles/test_by_hand.py", "roles/test_odd_inputs.py"),
        *("roles/test_planted.py", "retention/test_interrupted.py"),
        *("feed/test_memory.py", "feed/test_restored.py", "feed/test_schedules.py"),
        *("feed/test_subscribers_command.py", "feed/test_export.py", "stateless/test_project.py"),
        *("e2e/test_triggers.py", "e2e/test_crashes.py", "log/test_user_suite.py", "management/test_no_database.py"),
    )
)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(area) for area in SLOW_AREAS):
            item.add_marker(pytest.mark.slow)


class Count:
    """Of what was left out, in this process or in one of xdist's, each of which leaves out the same."""

    def __init__(self, config: pytest.Config) -> None:
        self.left_out = 0
        self._config = config

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.left_out += len(items)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["left_out"] = self.left_out

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        self.left_out = max(self.left_out, getattr(node, "workeroutput", {}).get("left_out", 0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.left_out:
            terminalreporter.section("left out")
            terminalreporter.line(f"{self.left_out} tests; make test-all runs every test")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Count(config), "left-out")
