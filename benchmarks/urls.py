"""The URLs of the project that is measured: its admin, and the webhook."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("hookflow/", include("django_hookflow.urls"))]
