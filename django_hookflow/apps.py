"""The app: system checks, the workflows of installed apps, and the log's escape for test environments."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import mail
from django.core.signals import setting_changed
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class DjangoHookflowConfig(AppConfig):
    name = "django_hookflow"
    verbose_name = "Hookflow"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_hookflow.checks import register_checks
        from django_hookflow.conf import is_stateless
        from django_hookflow.events.database import follow_mode

        register_checks()
        if is_stateless():
            follow_mode()
        setting_changed.connect(follow_mode, dispatch_uid="django_hookflow.follow_mode")
        connection_created.connect(_allow_truncate_in_tests, dispatch_uid="django_hookflow.allow_truncate")
        autodiscover_modules("workflows")


def _allow_truncate_in_tests(connection: Any, **kwargs: Any) -> None:
    """Lets Django's TransactionTestCase empty the log after each test, and nobody else.

    ``mail.outbox`` is there exactly in a process that has called Django's ``setup_test_environment()``.
    """
    if connection.vendor == "postgresql" and hasattr(mail, "outbox"):
        with connection.cursor() as cursor:
            cursor.execute("SET hookflow.allow_truncate = 'on'")
