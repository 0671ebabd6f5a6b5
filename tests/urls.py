"""The URLs of a project that mounts the package as contract.md says."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("hookflow/", include("django_hookflow.urls")),
]
