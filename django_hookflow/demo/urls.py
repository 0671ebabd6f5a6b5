"""The demo's addresses: the shop, the payment provider it calls, the admin, and the webhook."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from django_hookflow.demo.shop import payments, views

urlpatterns = [
    path("", views.index, name="shop"),
    path("orders/", views.place, name="place-order"),
    path("payments/charges/", payments.charge, name="charge"),
    path("admin/", admin.site.urls),
    path("hookflow/", include("django_hookflow.urls")),
]
