"""Time, and partitions put back as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.log.calls import ask

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def one_partition(transactional_db: None) -> Iterator[None]:
    """Afterwards the log has its one partition again, for the tests that follow on this database."""
    yield
    ask("SET hookflow.allow_truncate = 'on'")
    ask("TRUNCATE django_hookflow_event, django_hookflow_head")
    for row in ask("SELECT relid::regclass::text AS name FROM pg_partition_tree('django_hookflow_event') WHERE isleaf"):
        ask(f"DROP TABLE {row['name']}")
    for row in ask("SELECT relname FROM pg_class WHERE relname ~ '^django_hookflow_event_[0-9u]' AND relkind = 'r'"):
        ask(f"DROP TABLE {row['relname']}")  # detached
    ask("DO $$ BEGIN EXECUTE hookflow_partition_sql('django_hookflow_event_all', NULL, NULL); END $$")
