"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig


class WorkshopConfig(AppConfig):
    name = "tests.environments.workshop"
    label = "workshop"
