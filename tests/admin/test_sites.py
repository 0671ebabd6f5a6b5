"""An admin site of the project's own, beside Django's: whoever is in one stays in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.urls import path

from django_hookflow.admin import DeadLetterEntryAdmin, WorkflowRunAdmin
from django_hookflow.models import DeadLetterEntry, WorkflowRun
from tests.admin.history import ERROR, complete, fail, start
from tests.admin.page import parse

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.test import Client

operations = admin.AdminSite(name="operations")
operations.register(WorkflowRun, WorkflowRunAdmin)
operations.register(DeadLetterEntry, DeadLetterEntryAdmin)
#: A first site that knows nothing of runs.
others = admin.AdminSite(name="admin")


class OfOneShop(WorkflowRunAdmin):
    """As a project narrows its pages to what somebody is concerned with."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkflowRun]:
        return super().get_queryset(request).filter(label="ours")


shop = admin.AdminSite(name="shop")
shop.register(WorkflowRun, OfOneShop)


class OfAShop:
    urlpatterns = [path("admin/", admin.site.urls), path("shop/", shop.urls)]


class BesideOurs:
    urlpatterns = [path("admin/", admin.site.urls), path("operations/", operations.urls)]


class BesideAnother:
    urlpatterns = [path("admin/", others.urls), path("operations/", operations.urls)]


RUNS = "/operations/django_hookflow/workflowrun/"
OF_THE_SHOP = "/shop/django_hookflow/workflowrun/"


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


@pytest.mark.usefixtures("shop_code")
class TestRunsThatAreLeftOut:
    """By a subclass that a project has registered in a site of its own."""

    @pytest.fixture(autouse=True)
    def of_a_shop(self, settings: Any) -> None:
        settings.ROOT_URLCONF = OfAShop

    def test_cannot_be_compared_with(self, superuser: Client) -> None:
        key = start("ours", label="ours")
        complete(start("theirs", label="theirs"), result="a secret of theirs")
        url = f"{OF_THE_SHOP}{key}/compare/"
        assert "No other run of this workflow has completed." in parse(superuser.get(url)).text
        assert "There is no run “theirs”." in parse(superuser.get(url, {"with": "theirs"})).text

    def test_have_no_share_in_the_causes_of_failures(self, superuser: Client) -> None:
        fail(start("ours", label="ours"), error={**ERROR, "message": "of ours"})
        fail(start("theirs", label="theirs"), "pay", error={**ERROR, "message": "of theirs"})
        page = superuser.get(OF_THE_SHOP, {"status__exact": "failed"}).content.decode()
        assert ("of ours" in page, "of theirs" in page) == (True, False)
        everywhere = superuser.get("/admin/django_hookflow/workflowrun/", {"status__exact": "failed"}).content.decode()
        assert ("of ours" in everywhere, "of theirs" in everywhere) == (True, True)

    def test_are_not_in_the_activity(self, superuser: Client) -> None:
        for name in ("ours", "theirs"):
            start(name, label=name, actor="ada")
        page = parse(superuser.get(f"{OF_THE_SHOP}activity/")).text
        assert ("ours" in page, "theirs" in page) == (True, False)

    def test_are_not_near_what_was_searched_for(self, superuser: Client) -> None:
        for name in ("order-17", "order-18"):
            start(name, label="ours" if name == "order-17" else "theirs")
        page = parse(superuser.get(OF_THE_SHOP, {"q": "ordre-17"})).text
        assert ("order-17" in page, "order-18" in page) == (True, False)
