"""One PostgreSQL for a whole test session: the one DATABASE_URL names, else an embedded one.

pytest-django reads the settings before this file is imported, and hands each xdist worker a database of its own on the
server that they name. So the session's controller starts the server before anything connects, changes the settings it
has already read in place, and sets DATABASE_URL, which workers and other child processes inherit.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import connection

from django_hookflow.demo.postgres import Address, EmbeddedPostgres, settings_from_url
from tests import flush

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first is what users get with the package, here also where it is not installed but only checked out.
pytest_plugins = ["django_hookflow.pytest_plugin", "tests.crashes.summary", "tests.slow"]

embedded = EmbeddedPostgres(fast=True)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    flush.install()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell leaves it for what it runs in the background; children would inherit it and not hear a Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "DATABASE_URL" in os.environ or config.option.collectonly:
        return
    address = embedded.start()
    config.add_cleanup(embedded.stop)
    os.environ["DATABASE_URL"] = address.url()
    settings.DATABASES["default"].update(settings_from_url(address.url()))


def pytest_report_header() -> str:
    given = "DATABASE_URL" if "DATABASE_URL" in os.environ else "none"
    return f"database: {'embedded PostgreSQL' if embedded.pid else given}"


@pytest.fixture
def postgres() -> Iterator[Address]:
    """A server of the test's own, to be stopped, crashed or reconfigured at will."""
    with EmbeddedPostgres(fast=True) as address:
        yield address


@pytest.fixture
def process_environment(transactional_db: None) -> dict[str, str]:
    """The environment in which a child process works on this test's database, committed rows and all."""
    entry = connection.settings_dict
    address = Address(
        host=entry["HOST"],
        port=int(entry["PORT"] or 5432),
        user=entry["USER"],
        password=entry["PASSWORD"],
        name=entry["NAME"],
    )
    return {**os.environ, "DATABASE_URL": address.url(), "DJANGO_SETTINGS_MODULE": "tests.settings"}
