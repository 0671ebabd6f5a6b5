"""A project of 0.0.4, whose settings are not changed when it takes this package."""

from __future__ import annotations

import importlib.util
import os

from psycopg.conninfo import conninfo_to_dict

SECRET_KEY = "only-for-tests-" + "0" * 40
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "urls"

_parts = conninfo_to_dict(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _parts["dbname"],
        "USER": _parts.get("user", ""),
        "HOST": _parts.get("host", ""),
        "PORT": _parts.get("port", ""),
    }
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_hookflow", "shop"]
if importlib.util.find_spec("pgtrigger"):
    INSTALLED_APPS.insert(0, "pgtrigger")

# The constants of QStash's development server, which it prints for everyone.
QSTASH_TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
QSTASH_CURRENT_SIGNING_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
QSTASH_NEXT_SIGNING_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
DJANGO_HOOKFLOW_DOMAIN = "https://shop.example.com"
DJANGO_HOOKFLOW_WEBHOOK_PATH = "/hookflow/"
DJANGO_HOOKFLOW_PERSISTENCE_ENABLED = True
