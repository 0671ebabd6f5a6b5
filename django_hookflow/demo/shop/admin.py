"""The shop's tables in the admin, beside the runs that fill them."""

from __future__ import annotations

from django.contrib import admin

from django_hookflow.demo.shop.models import Charge, LedgerEntry, Order

admin.site.register([Order, LedgerEntry, Charge])
