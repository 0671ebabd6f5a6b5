"""The command as a whole: what it prints, how it exits, and what it does where it cannot look."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError
from django.db import connection

from django_hookflow.conf import SETTINGS
from django_hookflow.doctor.examination import AREAS
from tests.delivery.servers import Server
from tests.doctor.conftest import keys
from tests.doctor.diagnosis import REPOSITORY, diagnose, run, run_process
from tests.log.calls import ask

NOBODY_THERE = """
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": %s, "NAME": "shop",
                         "USER": "shop", "PASSWORD": "a-password-of-ours"}}
"""


@pytest.mark.django_db(transaction=True)
def test_a_deployment_in_order(qstash: Server, live_server: Any, settings: Any, tmp_path: Path) -> None:
    """The tests' login is the server's superuser, of which the doctor warns; no checkpoint has been made."""
    settings.DJANGO_HOOKFLOW_DOMAIN = live_server.url
    settings.DJANGO_HOOKFLOW_ARCHIVE_DIR = str(tmp_path)
    found = diagnose()
    assert [(finding["area"], finding["code"], finding["level"]) for finding in found.told["findings"]] == [
        ("settings", "settings.fine", "ok"),
        ("database", "database.answers", "ok"),
        ("schema", "schema.migrated", "ok"),
        ("guards", "guards.on", "ok"),
        ("roles", "django_hookflow.I030", "info"),
        ("roles", "django_hookflow.W030", "warning"),
        ("partitions", "partitions.fine", "ok"),
        ("clocks", "clocks.database", "ok"),
        ("clocks", "clocks.qstash", "ok"),
        ("keys", "keys.match", "ok"),
        ("signature", "signature.accepted", "ok"),
        ("signature", "signature.accepted", "ok"),
        ("address", "address.answers", "ok"),
        ("address", "address.accepts", "ok"),
        ("relay", "relay.in_time", "ok"),
        ("runs", "runs.fine", "ok"),
        ("subscribers", "subscribers.fine", "ok"),
        ("archive", "archive.writable", "ok"),
        ("checkpoints", "checkpoints.none", "info"),
    ]
    assert {key: value for key, value in found.told.items() if key != "findings"} == {
        "format": 1,
        "level": "warning",
        "exit_code": 0,
        "skipped": [],
    }
    assert found.exit_code == 0
    assert [request.path for request in qstash.received] == ["/v2/keys"]  # asked once, though two areas want to know
    assert ask("SELECT FROM django_hookflow_head") == []


@pytest.mark.django_db
def test_looking_works_where_nothing_can_be_changed() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
    assert diagnose(offline=True).exit_code == 0


@pytest.mark.django_db
def test_every_finding_that_is_not_fine_has_a_way_out(settings: Any) -> None:
    settings.QSTASH_CURRENT_SIGNING_KEY = settings.DJANGO_HOOKFLOW_DOMAIN = None
    settings.DJANGO_HOOKFLOW_ARCHIVE_DIR = "/nowhere/at/all"
    found = diagnose(offline=True)
    assert found.exit_code == 1
    assert found.told["level"] == "error"
    assert [f["code"] for f in found.told["findings"] if f["level"] != "ok" and not f["way_out"]] == []
    assert found.codes["django_hookflow.W001"] == "error"


@pytest.mark.django_db
def test_offline_asks_nobody_and_says_so(qstash: Server) -> None:
    found = diagnose(offline=True)
    assert found.told["skipped"] == [{"area": "keys", "why": "--offline"}, {"area": "address", "why": "--offline"}]
    assert found.codes["clocks.qstash_not_asked"] == "info"
    assert qstash.received == []


@pytest.mark.django_db
def test_what_a_person_reads() -> None:
    assert run("--only", "signature", "archive") == (
        0,
        "signature\n"
        "  ok       Messages signed with QSTASH_CURRENT_SIGNING_KEY are accepted.\n"
        "  ok       Messages signed with QSTASH_NEXT_SIGNING_KEY are accepted.\n"
        "archive\n"
        "  warning  DJANGO_HOOKFLOW_ARCHIVE_DIR is not configured, so cleanup_workflows\n"
        "           deletes events permanently. (W011)\n"
        "           -> Set it to a directory that is backed up, or run cleanup_workflows\n"
        "              with --archive-to. Without an archive, you cannot prove later what\n"
        "              a run did. If that is intended, silence this check.\n"
        "\nno errors, 1 warning\n",
    )


@pytest.mark.django_db
def test_it_fits_a_terminal(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_DOMAIN = None
    code, text = run("--offline")
    assert code == 1
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text.endswith(", 2 areas skipped\n")
    assert "\x1b" not in text


def test_an_area_that_does_not_exist() -> None:
    with pytest.raises(CommandError, match="invalid choice: 'kyes'"):
        run("--only", "kyes")


@pytest.mark.django_db
def test_an_area_that_reads_brings_the_database(settings: Any) -> None:
    assert list(diagnose("relay").codes) == ["database.answers", "relay.in_time"]
    assert list(diagnose("signature").codes) == ["signature.accepted"]


@pytest.mark.django_db
def test_no_secret_is_shown(qstash: Server, settings: Any) -> None:
    """Nor what the other side answers, be it the token."""
    token = settings.QSTASH_TOKEN
    settings.DJANGO_HOOKFLOW_CHECKPOINT_KEY = settings.GITHUB_PERSONAL_ACCESS_TOKEN = "another-secret-" * 4
    settings.DJANGO_HOOKFLOW_DOMAIN = f"{qstash.url.replace('//', '//user:pass-word@')}"
    qstash.otherwise = keys("sig_of_another_account", "sig_of_another_account_next")
    told = diagnose().text + run()[1]
    secrets = [getattr(django_settings, name, None) for name, setting in SETTINGS.items() if setting.secret]
    for secret in [*secrets, token, "sig_of_another_account", "pass-word"]:
        assert secret
        assert secret not in told


def test_a_database_that_is_not_there(tmp_path: Path, nowhere: str) -> None:
    done = run_process(
        "--offline", folder=tmp_path, environment=dict(os.environ), settings=NOBODY_THERE % nowhere.rpartition(":")[2]
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert "  error    The database 'default' cannot be reached: connection to server" in done.stdout
    assert "schema\n  skipped  the database cannot be reached\n" in done.stdout
    assert "signature\n  ok " in done.stdout
    assert "a-password-of-ours" not in done.stdout


def test_a_database_of_another_kind(tmp_path: Path) -> None:
    sqlite = "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}}"
    done = run_process("--only", "runs", folder=tmp_path, environment=dict(os.environ), settings=sqlite)
    assert (done.returncode, done.stderr) == (2, "")
    assert "The database 'default' is SQLite." in done.stdout


def test_colour_is_for_terminals(process_environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "django", "hookflow_doctor", "--only", "signature", "checkpoints"]
    environment = {**process_environment, "TERM": "xterm", "PYTHONPATH": str(REPOSITORY)}
    environment.pop("NO_COLOR", None)
    done = subprocess.run(command, env=environment, stdout=theirs, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(theirs)
    told = os.read(ours, 10_000).decode()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "  \x1b[32;1mok\x1b[0m       Messages signed with" in told
    assert "  \x1b[1minfo\x1b[0m     No checkpoint has been made" in told, "in no colour of errors"


def test_the_areas_are_told_by_the_command() -> None:
    assert list(AREAS) == [
        *("settings", "database", "schema", "guards", "roles", "partitions", "clocks", "keys", "signature"),
        *("address", "relay", "runs", "subscribers", "archive", "checkpoints"),
    ]
