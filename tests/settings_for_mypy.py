"""What django-stubs reads: the tests' project and the demo's in one, so that it knows the models of both."""

from __future__ import annotations

from django_hookflow.demo.settings import *  # noqa: F403
from django_hookflow.demo.settings import INSTALLED_APPS as DEMO_APPS
from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as TEST_APPS

INSTALLED_APPS = [*TEST_APPS, *(app for app in DEMO_APPS if app not in TEST_APPS)]
