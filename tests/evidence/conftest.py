"""A key, so that checkpoints can be signed, and a few runs to make them of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.evidence.checkpointing import SECRET
from tests.evidence.tampering import make_run

if TYPE_CHECKING:
    from uuid import UUID

    from pytest_django import Settings


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = SECRET


@pytest.fixture
def uids(transactional_db: None) -> list[UUID]:
    """Order-1 to order-3, of eight events each."""
    return [make_run(f"order-{number}") for number in (1, 2, 3)]
