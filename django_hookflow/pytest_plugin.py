"""The pytest plugin: the fixture ``hookflow``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django_hookflow.testing import Hookflow


@pytest.fixture
def hookflow(db: Any) -> Iterator[Hookflow]:
    """Controls deliveries and time in a test; see ``django_hookflow.testing``."""
    from django_hookflow.testing import Hookflow  # not before Django is set up

    with Hookflow() as kit:
        yield kit
