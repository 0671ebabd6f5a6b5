"""An admin site of the project's own, beside Django's: whoever is in one stays in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.urls import path

from django_hookflow.admin import DeadLetterEntryAdmin, WorkflowRunAdmin
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from tests.admin.history import fail, start
from tests.admin.page import parse

if TYPE_CHECKING:
    from django.test import Client

operations = admin.AdminSite(name="operations")
operations.register(WorkflowRun, WorkflowRunAdmin)
operations.register(DeadLetterEntry, DeadLetterEntryAdmin)
#: A first site that knows nothing of runs.
others = admin.AdminSite(name="admin")


class BesideOurs:
    urlpatterns = [path("admin/", admin.site.urls), path("operations/", operations.urls)]


class BesideAnother:
    urlpatterns = [path("admin/", others.urls), path("operations/", operations.urls)]


RUNS = "/operations/django_hookflow/workflowrun/"


@pytest.mark.parametrize("urls", [BesideOurs, BesideAnother])
@pytest.mark.usefixtures("shop_code")
def test_no_page_of_a_site_leads_to_another_site(superuser: Client, settings: Any, urls: type) -> None:
    settings.ROOT_URLCONF = urls
    key = start(actor="ada")
    fail(key)
    entry = DeadLetterEntry.objects.get(run_uid=key)
    pages = ["", "?status__exact=failed", "activity/", "steps/", "start/"]
    pages += [f"{key}/{page}/" for page in ("change", "compare", "proof", "start", "history", "operate/replay")]
    addresses = [f"{RUNS}{page}" for page in pages]
    addresses += [f"/operations/django_hookflow/deadletterentry/{rest}" for rest in ("", f"{entry.pk}/change/")]

    for address in addresses:
        page = parse(superuser.get(address))
        leading = [link.attributes.get("href", "") for link in page.all("a")]
        assert [link for link in leading if link.startswith("/admin/")] == [], address

    form = {"reason": "paid by hand", "seen": "99"}
    assert superuser.post(f"{RUNS}{key}/operate/replay/", form)["Location"] == f"{RUNS}{key}/change/"
    page = parse(superuser.get(f"{RUNS}{key}/change/"))
    assert "/admin/" not in " ".join(link.attributes.get("href", "") for link in page.all("a"))
