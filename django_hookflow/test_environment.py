"""Whether this process runs tests: by that the log may be emptied, time be moved, and nothing goes out to QStash."""

from __future__ import annotations

import re
import sys
from typing import Any

from django.db.backends.base.creation import TEST_DATABASE_PREFIX


def is_test_environment() -> bool:
    """Whether Django's ``setup_test_environment()`` is in effect, as under its test runner and under pytest-django."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")  # noqa: SLF001


def is_test_database(connection: Any) -> bool:
    """Whether the tests of this environment have this database for themselves, going by its name."""
    name, given = str(connection.settings_dict["NAME"]), connection.settings_dict["TEST"].get("NAME")
    # Django numbers the copies that parallel tests work on.
    is_theirs = re.fullmatch(rf"{re.escape(given)}(_\d+)?", name) if given else name.startswith(TEST_DATABASE_PREFIX)
    return bool(is_theirs) and is_test_environment()
