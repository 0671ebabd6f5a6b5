"""What system checks say of archives; those of partitions are in ``test_partitions``."""

from __future__ import annotations

from django.core.checks import run_checks
from django.test import override_settings


def find(*, deploy: bool = True) -> list[str]:
    found = run_checks(tags=["django_hookflow"], include_deployment_checks=deploy)
    return [message.msg for message in found if message.id == "django_hookflow.W011"]


def test_a_deployment_without_an_archive_is_warned_of_what_it_gives_away() -> None:
    for nothing in (None, ""):
        with override_settings(DJANGO_HOOKFLOW_ARCHIVE_DIR=nothing):
            assert find() == [
                "DJANGO_HOOKFLOW_ARCHIVE_DIR is not configured, so cleanup_workflows deletes events permanently."
            ]
            assert find(deploy=False) == []


def test_a_deployment_with_an_archive_is_fine() -> None:
    with override_settings(DJANGO_HOOKFLOW_ARCHIVE_DIR="/srv/archives"):
        assert find() == []
