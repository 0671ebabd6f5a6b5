"""The settings of the tests with a theme of the admin, which the environment names. Its scripts need a laxer policy."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, MIDDLEWARE

THEME = os.environ["HOOKFLOW_TEST_THEME"]
INSTALLED_APPS = [THEME, *INSTALLED_APPS]
MIDDLEWARE = [name for name in MIDDLEWARE if "policy" not in name]

JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}  # tests stay on this machine
JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}  # as the browser asks for
