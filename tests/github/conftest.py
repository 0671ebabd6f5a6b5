"""A GitHub on a local port, and settings that point to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.github.server import TOKEN, GitHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings


@pytest.fixture
def github(settings: Settings) -> Iterator[GitHub]:
    with GitHub() as server:
        settings.DJANGO_HOOKFLOW_GITHUB_API_URL = server.url
        settings.GITHUB_PERSONAL_ACCESS_TOKEN = TOKEN
        settings.GITHUB_DEFAULT_REPO = "octo/shop"
        yield server
