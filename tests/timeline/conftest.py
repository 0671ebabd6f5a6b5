from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from django_hookflow.clock import clock
from tests.timeline import shop
from tests.timeline.frozen import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_hookflow.testing import Hookflow


@pytest.fixture
def stage(hookflow: Hookflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A clock that the test moves, the database's and ours, on which the shop's workflows work."""
    shop.work = (stage := Stage(hookflow)).work
    monkeypatch.setattr(clock, "monotonic", lambda: stage.seconds)
    yield stage
    shop.work = None
    shop.troubles.clear()
    shop.renamed.clear()
