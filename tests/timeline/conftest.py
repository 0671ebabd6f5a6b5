from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.timeline import shop
from tests.timeline.frozen import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_hookflow.testing import Hookflow


@pytest.fixture
def stage(hookflow: Hookflow) -> Iterator[Stage]:
    """A clock that the test moves, on which the shop's workflows work."""
    shop.work = (stage := Stage(hookflow)).work
    yield stage
    shop.work = None
    shop.troubles.clear()
    shop.renamed.clear()
