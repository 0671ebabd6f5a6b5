"""The wire between Django and the test's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tests.crashes.outside import PaymentService
from tests.crashes.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def wire(transactional_db: None) -> Iterator[Wire]:
    """Every connection that Django makes in this test goes through the wire."""
    connection.ensure_connection()
    info = connection.connection.info
    entry = connection.settings_dict
    before = {name: entry[name] for name in ("HOST", "PORT", "OPTIONS")}
    with Wire(info.host, info.port) as wire:
        connection.close()
        # In the clear, or there would be no statements to be seen.
        options = {**entry["OPTIONS"], "sslmode": "disable", "gssencmode": "disable"}
        entry.update(HOST="127.0.0.1", PORT=str(wire.port), OPTIONS=options)
        try:
            yield wire
        finally:
            connection.close()
            entry.update(before)


@pytest.fixture
def payments() -> Iterator[PaymentService]:
    with PaymentService() as service:
        yield service
