"""``manage.py hookflow_relay`` as a process of its own: passes for cron, the loop, and signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from tests.delivery.conftest import Announce, outbox_row
from tests.delivery.servers import Answer, Hang, Server
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(process_environment: dict[str, str], tmp_path: Path, server: Server) -> Iterator[Start]:
    """Starts the command in a child process whose webhook is ``server``."""
    (tmp_path / "relay_settings.py").write_text(
        f"from tests.settings import *\nDJANGO_HOOKFLOW_DOMAIN = {server.url!r}\nQSTASH_URL = {server.url!r}\n"
    )
    environment = {
        **process_environment,
        "DJANGO_SETTINGS_MODULE": "relay_settings",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "hookflow_relay", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    server.let_go.set()
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors


def test_once_sends_what_is_due_and_ends(announce: Announce, start: Start, server: Server) -> None:
    for i in range(5):
        announce(f"order-{i}")
    announce("tomorrow", delay=86_400)

    assert finish(start("--once")) == (0, "Done: 5 sent\n", "")
    assert len(server.received) == 5


def test_once_with_a_failure_exits_with_1(announce: Announce, start: Start, server: Server) -> None:
    server.answers.append(Answer(500, b"oops"))
    announce("order-1")
    announce("order-2")

    code, output, errors = finish(start("--once", "--concurrency", "1"))

    assert (code, output) == (1, "")
    assert "order-1 at seq 1, attempt 1 was not delivered: POST" in errors
    assert "1 sent, 1 failed and will be retried" in errors


def test_once_by_qstash_sweeps_what_is_overdue(announce: Announce, start: Start, server: Server) -> None:
    message = announce("lost", grace=0.0)
    announce("published-just-now", grace=300)

    assert finish(start("--once", "--transport", "qstash")) == (0, "Done: 1 sent\n", "")
    (request,) = server.received
    assert request.headers["Upstash-Deduplication-Id"] == f"{message.run_uid}-1-2"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_the_loop_sends_until_a_signal_ends_it(
    announce: Announce, start: Start, server: Server, ending: signal.Signals
) -> None:
    process = start("--concurrency", "2")
    assert process.stdout is not None
    assert process.stdout.readline() == "Relay started: transport http, 2 at a time. Press Ctrl-C to stop.\n"
    announce("order-1")
    wait_until(lambda: len(server.received) == 1, "the message is sent")

    process.send_signal(ending)

    assert finish(process) == (0, "Relay stopped: 1 sent, 0 failed\n", "")


def test_a_signal_in_mid_send_lets_it_finish_and_takes_nothing_more(
    announce: Announce, start: Start, server: Server
) -> None:
    server.answers.append(Hang())
    announce("order-1")
    process = start("--concurrency", "1")
    wait_until(lambda: len(server.received) == 1, "the message is on its way")
    process.send_signal(signal.SIGTERM)
    late = announce("late")
    server.let_go.set()

    code, output, errors = finish(process)

    assert (code, errors) == (0, "")
    assert output.endswith("Relay stopped: 1 sent, 0 failed\n")
    assert outbox_row(late)["attempts"] == 0


def test_a_second_signal_ends_it_at_once(announce: Announce, start: Start, server: Server) -> None:
    server.answers.append(Hang())
    announce("order-1")
    process = start()
    wait_until(lambda: len(server.received) == 1, "the message is on its way")
    process.send_signal(signal.SIGTERM)

    def end_again() -> int | None:
        process.send_signal(signal.SIGTERM)
        return process.poll()

    assert wait_until(end_again, "the process is gone") == -signal.SIGTERM


def test_a_killed_relay_leaves_its_message_to_come_due_again(announce: Announce, start: Start, server: Server) -> None:
    server.answers.append(Hang())
    message = announce("order-1")
    process = start()
    wait_until(lambda: len(server.received) == 1, "the message is on its way")
    process.kill()
    process.wait()

    assert outbox_row(message)["send_in"] == pytest.approx(300, abs=30)


def test_the_loop_survives_the_loss_of_its_connection(announce: Announce, start: Start, server: Server) -> None:
    process = start()
    announce("order-1")
    wait_until(lambda: len(server.received) == 1, "the first message is sent")
    with connection.cursor() as c:
        c.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        assert c.fetchone()[0] >= 1
    announce("order-2")
    wait_until(lambda: len(server.received) == 2, "the second message is sent")
    process.send_signal(signal.SIGTERM)

    code, output, errors = finish(process)
    assert code == 0
    assert "2 sent, 0 failed" in output
    assert "the database is unavailable, next attempt in" in errors


def test_a_missing_setting_ends_it_with_its_name(settings: Settings) -> None:
    settings.QSTASH_TOKEN = None

    with pytest.raises(CommandError, match="QSTASH_TOKEN is not configured"):
        call_command("hookflow_relay", "--once", "--transport", "qstash")


def test_no_hands_are_refused() -> None:
    with pytest.raises(CommandError, match="--concurrency must be at least 1"):
        call_command("hookflow_relay", "--once", "--concurrency", "0")


def test_the_hosts_signal_handlers_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    call_command("hookflow_relay", "--once", "--transport", "inline")

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capsys.readouterr().out == "Done: 0 sent\n"
