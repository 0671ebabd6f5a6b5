"""Settings of the demo project. What differs from run to run comes from the environment, see ``stage.py``."""

from __future__ import annotations

import os

from django_hookflow.demo.postgres import settings_from_url

SECRET_KEY = os.environ.get("HOOKFLOW_DEMO_SECRET", "demo")
PORT = os.environ.get("HOOKFLOW_DEMO_PORT", "8000")
DATABASES = {"default": settings_from_url(os.environ.get("HOOKFLOW_DEMO_DATABASE_URL", ""))}

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
USE_TZ = True
TIME_ZONE = "UTC"
ROOT_URLCONF = "django_hookflow.demo.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_hookflow",
    "django_hookflow.demo.shop",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The relay stands in for QStash: it signs with these keys and delivers to the web process, which verifies.
DJANGO_HOOKFLOW_TRANSPORT = "http"
DJANGO_HOOKFLOW_DOMAIN = f"http://127.0.0.1:{PORT}"
QSTASH_CURRENT_SIGNING_KEY = f"sig_{SECRET_KEY}"
QSTASH_NEXT_SIGNING_KEY = f"sig_next_{SECRET_KEY}"
# A killed worker's run is taken over this soon. In production 60, the default, is a better choice.
DJANGO_HOOKFLOW_LEASE_SECONDS = 3

SHOP_PAYMENT_WAIT_SECONDS = 3
SHOP_PAYMENT_URL = f"{DJANGO_HOOKFLOW_DOMAIN}/payments/charges/"
