from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("hookflow/", include("django_hookflow.urls"))]
