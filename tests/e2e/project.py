"""A project of a user's own: what ``django-admin startproject`` makes, an app, and the set-up of contract.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import django_hookflow

SHOP = Path(__file__).with_name("shop_template")
REPOSITORY = Path(django_hookflow.__file__).parents[1]

#: Where the project runs. It has nothing to do with the package.
SURROUNDINGS = """
import json, os

DEBUG = False
ALLOWED_HOSTS = ["shop.example.com", "127.0.0.1"]
DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
OUTSIDE_URL = os.environ["SHOP_OUTSIDE_URL"]
LOGGING = {"version": 1, "disable_existing_loggers": False, "handlers": {"stderr": {"class": "logging.StreamHandler"}},
           "root": {"handlers": ["stderr"], "level": "WARNING"}}
INSTALLED_APPS += ["shop"]
"""
SURROUNDING_URLS = """
from django.urls import include

urlpatterns += [path("shop/", include("shop.urls"))]
"""

#: What contract.md asks of a user: two apps, the keys and the origin, one line of URLs (and then: migrate).
SET_UP = """
INSTALLED_APPS += ["django_hookflow"]
QSTASH_TOKEN = os.environ["QSTASH_TOKEN"]
QSTASH_CURRENT_SIGNING_KEY = os.environ["QSTASH_CURRENT_SIGNING_KEY"]
QSTASH_NEXT_SIGNING_KEY = os.environ["QSTASH_NEXT_SIGNING_KEY"]
DJANGO_HOOKFLOW_DOMAIN = "https://shop.example.com"
"""
SET_UP_URLS = """
urlpatterns += [path("hookflow/", include("django_hookflow.urls"))]
"""

#: Not a user's: where the peer listens instead of QStash, and what a test wants different from the defaults.
OF_THE_TEST = """
QSTASH_URL = os.environ["QSTASH_URL"]
globals().update(json.loads(os.environ["SHOP_SETTINGS"]))
DATABASES["default"].update(json.loads(os.environ["SHOP_DATABASE_OPTIONS"]))
"""


class Project:
    """The project's directory, made by :meth:`create`, and its ``manage.py``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def create(self) -> None:
        self.directory.mkdir()
        self._run("-m", "django", "startproject", "config", ".")
        self._run("-m", "django", "startapp", "shop", "--template", str(SHOP))
        with (self.directory / "config" / "settings.py").open("a", encoding="utf-8") as settings:
            settings.write(SURROUNDINGS + SET_UP + OF_THE_TEST)
        with (self.directory / "config" / "urls.py").open("a", encoding="utf-8") as urls:
            urls.write(SURROUNDING_URLS + SET_UP_URLS)

    def manage(self, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.directory,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def environment(self) -> dict[str, str]:
        """This process's, without what names the settings and the database of our own tests."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "DATABASE_"))}
        return {**kept, "PYTHONPATH": str(REPOSITORY), "DJANGO_SETTINGS_MODULE": "config.settings"}

    def _run(self, *arguments: str) -> None:
        env = self.environment()
        del env["DJANGO_SETTINGS_MODULE"]
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.directory, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
