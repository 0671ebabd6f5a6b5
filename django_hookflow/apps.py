"""The app: system checks, the workflows of installed apps, and the log's escape for test environments."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class DjangoHookflowConfig(AppConfig):
    name = "django_hookflow"
    verbose_name = "Hookflow"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_hookflow.checks import register_checks

        register_checks()
        _names.update(database.get("NAME") for database in settings.DATABASES.values())
        connection_created.connect(_allow_truncate_in_tests, dispatch_uid="django_hookflow.allow_truncate")
        autodiscover_modules("workflows")


def _allow_truncate_in_tests(connection: Any, **kwargs: Any) -> None:
    """Lets Django's TransactionTestCase empty the log after each test, and nobody else."""
    if connection.vendor == "postgresql" and _is_of_tests(connection):
        with connection.cursor() as cursor:
            cursor.execute("SET hookflow.allow_truncate = 'on'")


def _is_of_tests(connection: Any) -> bool:
    """Whether Django's ``setup_test_environment()`` is in force, and this is a database that was made for tests.

    The former leaves other traces, such as ``mail.outbox``, that a setting leaves too; and in a shell it may be called beside
    the databases that the settings name. A runner of tests gives a connection the name of another one.
    """
    utils = sys.modules.get("django.test.utils")  # not imported for this: it brings much along
    in_force = hasattr(getattr(utils, "_TestState", None), "saved_data")
    return in_force and connection.settings_dict["NAME"] not in _names


#: The databases that the settings named when the process began.
_names: set[Any] = set()
