"""The project's own data in a SQLite file of its own, the log in PostgreSQL."""

from __future__ import annotations

from typing import Any

from tests.environments.workshop.settings import *  # noqa: F403
from tests.environments.workshop.settings import DATABASES as ONE

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, "log": ONE["default"]}
DATABASE_ROUTERS = ["tests.environments.workshop.two_databases.LogElsewhere"]


class LogElsewhere:
    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "log" if model._meta.app_label == "django_hookflow" else None

    db_for_write = db_for_read
