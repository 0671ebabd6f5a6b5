"""App configuration: system checks, the workflows of installed apps, and the log's escape for test environments."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class DjangoHookflowConfig(AppConfig):
    name = "django_hookflow"
    verbose_name = "Hookflow"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        autodiscover_modules("workflows")
