"""People who look at the admin."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from django_hookflow import WorkflowContext, workflow
from django_hookflow.registry import forget_local_workflows, registered_workflows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS = "/admin/django_hookflow/workflowrun/"
DEAD_LETTERS = "/admin/django_hookflow/deadletterentry/"


@contextmanager
def count_queries() -> Iterator[list[str]]:
    """The statements of a block, without the savepoints that Django sets in some versions and not in others."""
    statements: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield statements
    statements += [query["sql"] for query in queries.captured_queries if "SAVEPOINT" not in query["sql"]]


@pytest.fixture
def superuser(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def shop_code() -> Iterator[None]:
    """The code of the runs in :mod:`.history`, which replaying them takes."""
    known = registered_workflows()

    @workflow(workflow_id="shop.process")
    def process(ctx: WorkflowContext) -> None:
        """Does nothing: these runs are not driven."""

    yield
    forget_local_workflows(known)


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """``staff("view_workflowrun")``: a client logged in as staff with these permissions and no others."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user("staff", is_staff=True)
        permissions = Permission.objects.filter(content_type__app_label="django_hookflow", codename__in=codenames)
        assert len(permissions) == len(codenames)
        user.user_permissions.set(permissions)
        client = Client()
        client.force_login(user)
        return client

    return log_in
