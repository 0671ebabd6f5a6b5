"""Mounted by a project at ``DJANGO_HOOKFLOW_WEBHOOK_PATH``."""

from __future__ import annotations

from django.urls import path

from django_hookflow import views

app_name = "django_hookflow"

urlpatterns = [path("workflow/<str:workflow_id>/", views.workflow, name="workflow")]
