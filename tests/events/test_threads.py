"""Work by threads comes to an end, whatever happens to their connections."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import InterfaceError

from django_hookflow.events.database import log_connection
from django_hookflow.events.threads import in_threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_that_cannot_be_closed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def close_badly() -> None:
        raise InterfaceError("gone")

    def work(part: int) -> Any:
        log_connection().close = close_badly
        return part

    assert sorted(in_threads(work, iter(range(6)), 3)) == list(range(6))
