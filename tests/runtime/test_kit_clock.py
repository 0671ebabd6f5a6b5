"""Whose clock the kit moves: that of a test's database, and not for longer than the test's process lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)

MOVE = """
import os, signal, django
django.setup()
{environment}
from django_hookflow.testing import Hookflow
Hookflow().__enter__().advance(86_400)
os.kill(os.getpid(), signal.SIGKILL)
"""
#: As a runner of tests does: the process begins beside the project's database, and a connection gets another one.
IN_TESTS = """
from django.db import connection
from django.test.utils import setup_test_environment
setup_test_environment()
connection.settings_dict["NAME"] = {name!r}
"""
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
    environment, in_tests = beside_the_project(process_environment), IN_TESTS.format(name=own_name())
    killed = run(MOVE, environment, in_tests)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert is_moved()
    assert run(LOOK, process_environment, "").returncode == 0
    assert is_moved()  # no business of a process that does not test
    assert run(LOOK, environment, in_tests).returncode == 0
    assert not is_moved()


@pytest.mark.parametrize("in_tests", ["", IN_TESTS], ids=["no test environment", "the project's database"])
def test_time_is_moved_in_no_other_database(process_environment: dict[str, str], in_tests: str) -> None:
    refused = run(MOVE, process_environment, in_tests.format(name=own_name()))
    assert refused.returncode == 1
    assert f"refusing to change the clock of the database {own_name()!r}" in refused.stderr.splitlines()[-1]
    assert not is_moved()


def beside_the_project(environment: dict[str, str]) -> dict[str, str]:
    """The settings name another database than that of this test."""
    return {**environment, "DATABASE_URL": environment["DATABASE_URL"].replace(f"/{own_name()}?", "/postgres?")}


def own_name() -> str:
    return str(connection.settings_dict["NAME"])
