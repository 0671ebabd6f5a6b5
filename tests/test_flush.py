"""A cheaper flush is a flush: nothing is left behind for the next test, and nothing that Django keeps is lost."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.test import TransactionTestCase

from tests.flush import find_filled, read_kept
from tests.log.calls import append, start, step
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)


def leave_rows() -> None:
    append(start("order-1")["run_uid"], 1, step("a"))
    LedgerEntry.objects.create(account="order-1", amount=1)
    user = User.objects.create_user("somebody")
    user.user_permissions.add(Permission.objects.get(codename="add_user"))
    user.groups.add(Group.objects.create(name="some"))


def flush() -> None:
    TransactionTestCase("__init__")._fixture_teardown()  # type: ignore[attr-defined]


def test_what_a_test_has_left_is_gone() -> None:
    flush()
    kept = read_kept()
    leave_rows()
    assert {"django_hookflow_event", "django_hookflow_head", "testapp_ledgerentry", "auth_user"} <= {*find_filled()}
    flush()
    assert find_filled() == []
    assert read_kept() == kept


@pytest.mark.parametrize("change", ["added", "removed"])
def test_permissions_are_made_anew_after_a_test_that_changed_them(change: str) -> None:
    flush()
    names = set(Permission.objects.values_list("codename", flat=True))
    if change == "added":
        Permission.objects.create(codename="of_a_test", content_type=ContentType.objects.get_for_model(User))
    else:
        Permission.objects.filter(content_type__app_label="django_hookflow").delete()
    leave_rows()
    flush()
    assert set(Permission.objects.values_list("codename", flat=True)) == names
    assert find_filled() == []
