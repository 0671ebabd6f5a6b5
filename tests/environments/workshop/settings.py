"""Settings of the project, as far as a test has not changed them through the environment."""

from __future__ import annotations

import json
import os

SECRET_KEY = "only-for-tests-" + "0" * 40
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "tests.environments.workshop.urls"
INSTALLED_APPS = ["pgtrigger", "django_hookflow", "tests.testapp", "tests.environments.workshop"]
DATABASES = {"default": json.loads(os.environ["WORKSHOP_DATABASE"])}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

QSTASH_CURRENT_SIGNING_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
QSTASH_NEXT_SIGNING_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
DJANGO_HOOKFLOW_DOMAIN = "http://127.0.0.1:9"
DJANGO_HOOKFLOW_TRANSPORT = "http"

globals().update(json.loads(os.environ["WORKSHOP_SETTINGS"]))
