"""Nobody changes anything here, by whatever request; who may look is who has the view permission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client

from django_hookflow.models import DeadLetterEntry, StepExecution, WorkflowEvent, WorkflowRun
from tests.admin.conftest import DEAD_LETTERS, RUNS
from tests.admin.history import add_steps, fail, start
from tests.admin.page import parse

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = [
    f"{action}_{model}"
    for action in ("add", "change", "delete", "view")
    for model in ("workflowrun", "deadletterentry")
]


@pytest.fixture
def failed_run(db: None) -> WorkflowRun:
    run = start()
    add_steps(run, 2)
    fail(run)
    return WorkflowRun.objects.get(pk=run)


def snapshot() -> list[Any]:
    models = (WorkflowRun, StepExecution, DeadLetterEntry, WorkflowEvent)
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def urls_that_write(run: WorkflowRun) -> list[str]:
    entry = DeadLetterEntry.objects.get()
    return [
        f"{RUNS}add/",
        f"{RUNS}{run.pk}/delete/",
        f"{DEAD_LETTERS}add/",
        f"{DEAD_LETTERS}{entry.pk}/delete/",
    ]


@pytest.mark.parametrize("who", ["superuser", "staff with every permission"])
def test_adding_changing_and_deleting_is_forbidden(
    who: str, superuser: Client, staff: Callable[..., Client], failed_run: WorkflowRun
) -> None:
    client = superuser if who == "superuser" else staff(*ALL)
    entry = DeadLetterEntry.objects.get()
    before = snapshot()

    for url in urls_that_write(failed_run):
        assert client.get(url).status_code == 403, url
        assert client.post(url, {"post": "yes", "run_id": "forged", "status": "completed"}).status_code == 403, url
    for url in (f"{RUNS}{failed_run.pk}/change/", f"{DEAD_LETTERS}{entry.pk}/change/"):
        for button in ("_save", "_saveasnew", "_continue"):
            response = client.post(url, {button: "1", "run_id": "forged", "status": "completed", "is_replayed": "on"})
            assert response.status_code == 403, (url, button)

    assert snapshot() == before


@pytest.mark.parametrize("url", [RUNS, DEAD_LETTERS])
def test_a_bulk_deletion_sent_by_hand_deletes_nothing(superuser: Client, failed_run: WorkflowRun, url: str) -> None:
    before = snapshot()
    chosen = [failed_run.pk, DeadLetterEntry.objects.get().pk]

    superuser.post(url, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})

    assert snapshot() == before


@pytest.mark.parametrize("url", [RUNS, DEAD_LETTERS])
def test_pages_offer_no_way_to_change(superuser: Client, failed_run: WorkflowRun, url: str) -> None:
    entry = DeadLetterEntry.objects.get()

    for address in (url, f"{url}{failed_run.pk if url == RUNS else entry.pk}/change/"):
        main = parse(superuser.get(address)).one("div", id="content")
        links = {link.attributes.get("href", "") for link in main.all("a")}
        assert not any(link.endswith(("/add/", "/delete/")) for link in links)
        assert [form for form in main.all("form", method="post") if form.all("input", type="submit")] == []


def test_a_person_without_permission_sees_nothing(staff: Callable[..., Client], failed_run: WorkflowRun) -> None:
    client = staff()

    for url in (RUNS, DEAD_LETTERS, f"{RUNS}{failed_run.pk}/change/"):
        assert client.get(url).status_code == 403, url


def test_the_view_permission_of_one_model_opens_that_one(staff: Callable[..., Client], failed_run: WorkflowRun) -> None:
    client = staff("view_workflowrun")

    assert client.get(RUNS).status_code == 200
    assert client.get(f"{RUNS}{failed_run.pk}/change/").status_code == 200
    assert client.get(DEAD_LETTERS).status_code == 403


def test_a_stranger_is_sent_to_the_login(failed_run: WorkflowRun) -> None:
    response = Client().get(f"{RUNS}{failed_run.pk}/change/")

    assert response.status_code == 302
    assert "/login/" in response["Location"]


def test_runs_and_dead_letters_are_all_there_is() -> None:
    models = [model for model in apps.get_app_config("django_hookflow").get_models() if admin.site.is_registered(model)]

    assert models == [WorkflowRun, DeadLetterEntry]
