"""The tests' settings and this app."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as OTHER_APPS

INSTALLED_APPS = [*OTHER_APPS, "tests.feed.shop"]
DJANGO_HOOKFLOW_DOMAIN = "https://shop.example"
