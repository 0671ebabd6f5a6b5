"""Settings as a user's project has them: nothing in them makes an exception for tests."""

from __future__ import annotations

import os

from django_hookflow.demo.postgres import settings_from_url

SECRET_KEY = "only-for-tests-" + "0" * 40
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["pgtrigger", "django_hookflow"]
DATABASES = {"default": settings_from_url(os.environ["DATABASE_URL"])}
STATIC_URL = "static/"
ROOT_URLCONF = "django_hookflow.urls"
DJANGO_HOOKFLOW_TRANSPORT = "inline"
