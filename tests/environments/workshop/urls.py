"""The webhook, and a view that tells about the process."""

from __future__ import annotations

from django.urls import include, path

from tests.environments.workshop.views import tell

urlpatterns = [
    path("hookflow/", include("django_hookflow.urls")),
    path("tell/", tell),
]
