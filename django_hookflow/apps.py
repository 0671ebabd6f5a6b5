"""The app: system checks, the workflows of installed apps, and what is different in a test environment."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed
from django.db.backends.signals import connection_created
from django.db.models.signals import pre_save
from django.utils.module_loading import autodiscover_modules

from django_hookflow.exceptions import NotFromFixtures
from django_hookflow.test_environment import is_test_database, remember_databases


class DjangoHookflowConfig(AppConfig):
    name = "django_hookflow"
    verbose_name = "Hookflow"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_hookflow.checks import register_checks
        from django_hookflow.conf import is_stateless
        from django_hookflow.events.database import follow_mode, name_missing_migrations

        register_checks()
        if is_stateless():
            follow_mode()
        setting_changed.connect(follow_mode, dispatch_uid="django_hookflow.follow_mode")
        remember_databases()
        pre_save.connect(_refuse_fixtures, dispatch_uid="django_hookflow.fixtures")
        connection_created.connect(name_missing_migrations, dispatch_uid="django_hookflow.missing_migrations")
        connection_created.connect(_prepare_for_tests, dispatch_uid="django_hookflow.tests")
        autodiscover_modules("workflows")


def _prepare_for_tests(connection: Any, **kwargs: Any) -> None:
    """In a database of tests, and in no other: lets Django's TransactionTestCase empty the log after each test, and takes
    back where a test process that was killed had moved time.
    """
    if connection.vendor == "postgresql" and is_test_database(connection):
        from django_hookflow.testing import restore_clock

        with connection.cursor() as cursor:
            cursor.execute("SET hookflow.allow_truncate = 'on'")
        restore_clock(connection)


def _refuse_fixtures(sender: Any, raw: bool, **kwargs: Any) -> None:
    """Fixtures (``raw``) have no hash chain that holds: they keep JSON by its meaning, and moments to milliseconds."""
    if raw and sender._meta.concrete_model._meta.app_label == DjangoHookflowConfig.name:
        raise NotFromFixtures(sender._meta.label)
