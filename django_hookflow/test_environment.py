"""Whether this process runs tests: by that the log may be emptied, time be moved, and nothing goes out to QStash."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings

#: The databases that the settings named when the process began.
_names: set[Any] = set()


def remember_databases() -> None:
    """Called when the process begins, before a runner of tests gives connections the names of its own databases."""
    _names.update(database.get("NAME") for database in settings.DATABASES.values())


def is_test_environment() -> bool:
    """Whether Django's ``setup_test_environment()`` is in effect, as under its test runner and under pytest-django.

    It leaves other traces, such as ``mail.outbox``, but those a setting leaves, too.
    """
    utils = sys.modules.get("django.test.utils")  # not imported for this: it brings much along
    return hasattr(getattr(utils, "_TestState", None), "saved_data")


def is_test_database(connection: Any) -> bool:
    """Whether this is a database that was made for tests: in a shell, too, somebody may set up a test environment."""
    return is_test_environment() and connection.settings_dict["NAME"] not in _names
