"""A user's own TransactionTestCase goes on working; outside of tests the log is not emptied."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def user_environment(process_environment: dict[str, str]) -> dict[str, str]:
    return {**process_environment, "DJANGO_SETTINGS_MODULE": "tests.log.user_settings"}


def run_python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


DJANGOS = ["-m", "django", "test", "--noinput", "tests.log.user_suite"]
PYTESTS = [
    "-m",
    "pytest",
    "--noconftest",
    "-c",
    os.devnull,
    "--rootdir=.",
    "-p",
    "no:cacheprovider",
    "tests/log/user_suite.py",
]


@pytest.mark.parametrize(
    ("arguments", "ended"),
    [
        (DJANGOS, "Ran 8 tests"),
        ([*DJANGOS, "--parallel=2"], "Ran 8 tests"),
        (PYTESTS, "8 passed"),
        ([*PYTESTS, "-n2"], "8 passed"),
    ],
    ids=["Django's runner", "in parallel", "pytest-django", "xdist"],
)
def test_a_users_transaction_test_case_flushes_the_log(
    user_environment: dict[str, str], arguments: list[str], ended: str
) -> None:
    done = run_python(user_environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ended in done.stdout + done.stderr


def test_a_kept_database_of_tests_is_flushed_too(user_environment: dict[str, str]) -> None:
    for _ in range(2):
        done = run_python(user_environment, *DJANGOS, "--keepdb")
        assert done.returncode == 0, done.stderr
    assert "Using existing test database" in done.stderr


LOCMEM = "from django.core import mail; mail.get_connection('django.core.mail.backends.locmem.EmailBackend')"


@pytest.mark.parametrize(
    "before",
    [
        "",
        f"{LOCMEM}; assert mail.outbox == []",
        "import django.test.utils",
        "from django.test.utils import setup_test_environment as begin; begin()",
        "from django.test import utils; utils.setup_test_environment(); utils.teardown_test_environment()",
    ],
    ids=["nothing", "locmem", "imported", "a shell that plays test", "over"],
)
def test_a_process_at_the_databases_of_its_settings_cannot_empty_it(
    user_environment: dict[str, str], before: str
) -> None:
    program = (
        f"import django; django.setup()\n{before}\n"
        "from django.db import connection\n"
        "connection.cursor().execute('TRUNCATE django_hookflow_event')\n"
    )
    done = run_python(user_environment, "-c", program)
    assert done.returncode == 1
    assert "IntegrityError: hookflow: the event log is append-only, TRUNCATE is refused" in done.stderr


def test_no_database_is_emptied_outside_of_a_test_environment(user_environment: dict[str, str]) -> None:
    """Not even one that no setting has named."""
    program = (
        f"import django; django.setup(); {LOCMEM}\n"
        "from django.db import connection\n"
        "from django_hookflow import test_environment\n"
        "test_environment._names.clear()\n"
        "connection.cursor().execute('TRUNCATE django_hookflow_event')\n"
    )
    assert "TRUNCATE is refused" in run_python(user_environment, "-c", program).stderr


class Outside:
    """What leaves for the internet from a process that goes through this proxy: the hosts that it asks for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:{1}".format(*self._listener.getsockname())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(1000).split()[1].decode())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.close()


@pytest.fixture
def qstash_environment(user_environment: dict[str, str], outside: Outside) -> dict[str, str]:
    """As deployed: transport, keys and address of the real QStash, which is reached through a proxy that takes notes."""
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), outside.url)
    return {**user_environment, "DJANGO_SETTINGS_MODULE": "tests.log.qstash_settings", **proxies}


TRIGGER = """
import django
django.setup()
from django_hookflow import workflow
run_id = workflow(workflow_id="shop.pay")(lambda ctx: None).trigger()
from django_hookflow.models import WorkflowRun
WorkflowRun.objects.get(run_id=run_id).cancel()
"""


def test_a_users_tests_send_nothing_to_qstash(qstash_environment: dict[str, str], outside: Outside) -> None:
    """Neither when a run is triggered in a plain TransactionTestCase nor when one is cancelled."""
    done = run_python(qstash_environment, "-m", "django", "test", "--noinput", "tests.log.qstash_suite")
    assert done.returncode == 0, done.stderr
    assert "Ran 1 test" in done.stderr
    assert outside.asked == []


def test_an_ordinary_process_of_the_same_project_does(qstash_environment: dict[str, str], outside: Outside) -> None:
    done = run_python(qstash_environment, "-c", TRIGGER)
    assert done.returncode == 0, done.stderr
    assert set(outside.asked) == {"qstash.upstash.io:443"}
