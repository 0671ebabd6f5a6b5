"""Mounted by a project at ``DJANGO_HOOKFLOW_WEBHOOK_PATH``."""

from __future__ import annotations

from django.urls import include, path

from django_hookflow import callback_view, signal_view, views

app_name = "django_hookflow"

#: Under the name that 0.0.x gave it, for projects that reverse it.
_of_0_0 = [path("workflow/<str:workflow_id>/", views.workflow, name="workflow_webhook")]

urlpatterns = [
    path("workflow/<str:workflow_id>/", views.workflow, name="workflow"),
    path("callback/<uuid:run_uid>/<uuid:key>/", callback_view.callback, name="callback"),
    path("signal/<str:token>/", signal_view.signal, name="signal"),
    path("", include((_of_0_0, "django_hookflow_workflows"))),
]
