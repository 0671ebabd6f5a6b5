"""A user's own TransactionTestCase goes on working; outside of tests the log is not emptied."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.fixture
def user_environment(process_environment: dict[str, str]) -> dict[str, str]:
    return {**process_environment, "DJANGO_SETTINGS_MODULE": "tests.log.user_settings"}


def run_python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_users_transaction_test_case_flushes_the_log(user_environment: dict[str, str]) -> None:
    done = run_python(user_environment, "-m", "django", "test", "--noinput", "tests.log.user_suite")
    assert done.returncode == 0, done.stderr
    assert "Ran 4 tests" in done.stderr


def test_an_ordinary_process_of_the_same_project_cannot_empty_it(user_environment: dict[str, str]) -> None:
    program = (
        "import django; django.setup()\n"
        "from django.db import connection\n"
        "connection.cursor().execute('TRUNCATE django_hookflow_event')\n"
    )
    done = run_python(user_environment, "-c", program)
    assert done.returncode == 1
    assert "IntegrityError: hookflow: the event log is append-only, TRUNCATE is refused" in done.stderr
