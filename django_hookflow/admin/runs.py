"""Workflow runs in the admin: the list, the page of one, and what can be done to them."""

from __future__ import annotations

from django.contrib import admin

from django_hookflow.admin.activity import Activity
from django_hookflow.admin.operating.pages import RunOperations
from django_hookflow.admin.operating.starting import Starting
from django_hookflow.admin.run_list.page import RunList
from django_hookflow.admin.run_page.comparing import Comparing
from django_hookflow.admin.run_page.page import RunPage
from django_hookflow.admin.run_page.proof import Proof
from django_hookflow.admin.step_times import StepTimesPage
from django_hookflow.models import WorkflowRun


@admin.register(WorkflowRun)
class WorkflowRunAdmin(Activity, Starting, Comparing, Proof, RunOperations, StepTimesPage, RunPage, RunList):
    """Each part is a class of its own."""
