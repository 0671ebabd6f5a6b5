"""The admin of a thing that runs are about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from django_hookflow.admin import RunsMixin
from tests.testapp.models import LedgerEntry

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


@admin.register(LedgerEntry)
class LedgerEntryAdmin(RunsMixin, ModelAdmin):
    list_display = ("account", "amount")
