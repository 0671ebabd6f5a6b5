"""Whose clock the kit moves: that of a test's database, and not for longer than the test's process lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from django_hookflow.test_environment import is_test_database

pytestmark = pytest.mark.django_db(transaction=True)

MOVE = """
import os, signal, django
django.setup()
{environment}
from django_hookflow.testing import Hookflow
Hookflow().__enter__().advance(86_400)
os.kill(os.getpid(), signal.SIGKILL)
"""
IN_TESTS = "from django.test.utils import setup_test_environment; setup_test_environment()"
IS_MOVED = "SELECT hookflow_now() > clock_timestamp() + interval '1 hour'"


LOOK = """
import django
django.setup()
{environment}
from django.db import connection
connection.ensure_connection()
"""


def run(program: str, environment: dict[str, str], in_tests: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program.format(environment=in_tests)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def is_moved() -> Any:
    with connection.cursor() as c:
        c.execute(IS_MOVED)
        return c.fetchone()[0]


def test_after_a_test_process_was_killed_the_next_begins_at_the_present(process_environment: dict[str, str]) -> None:
    killed = run(MOVE, process_environment, IN_TESTS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert is_moved()
    assert run(LOOK, process_environment, "").returncode == 0
    assert is_moved()  # no business of a process that does not test
    assert run(LOOK, process_environment, IN_TESTS).returncode == 0
    assert not is_moved()


@pytest.mark.parametrize(
    ("in_tests", "name"), [("", None), (IN_TESTS, "postgres")], ids=["no test environment", "another database"]
)
def test_time_is_moved_in_no_other_database(
    process_environment: dict[str, str], in_tests: str, name: str | None
) -> None:
    url = process_environment["DATABASE_URL"]
    environment = {**process_environment, "DATABASE_URL": url.replace(f"/{own_name()}?", f"/{name or own_name()}?")}
    refused = run(MOVE, environment, in_tests)
    assert refused.returncode == 1
    assert f"time is not moved in the database {name or own_name()!r}" in refused.stderr.splitlines()[-1]
    assert not is_moved()


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        (None, "test_shop", True),
        (None, "test_shop_gw1", True),
        (None, "shop", False),
        ("shop_ci", "shop_ci", True),
        ("shop_ci", "shop_ci_2", True),
        ("shop_ci", "test_shop", False),
        ("shop", "shop_live", False),
    ],
)
def test_a_tests_database_is_known_by_its_name(given: str | None, name: str, expected: bool) -> None:
    named = SimpleNamespace(settings_dict={"NAME": name, "TEST": {"NAME": given}})
    assert is_test_database(named) is expected


def own_name() -> str:
    return str(connection.settings_dict["NAME"])
