"""Which command runs with whose credentials: those that look, with a reader's; those that maintain the log, as its owner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_hookflow.runtime.trigger import uuid7
from tests.log.calls import append, failure, start, step
from tests.roles.conftest import Deploy
from tests.roles.dba import DBA, Guarded

ANYONE, APPLICATION, OWNER = {"web", "analyst", "deployer"}, {"web", "deployer"}, {"deployer"}
COMMANDS = {
    "hookflow_rebuild --check": ANYONE,
    "hookflow_verify": ANYONE,
    "hookflow_export": ANYONE,
    "hookflow_doctor --offline --only database relay runs": ANYONE,
    "hookflow_partitions list": ANYONE,
    "cleanup_workflows --days-old 0 --dry-run": ANYONE,
    "hookflow_relay --once": APPLICATION,
    "hookflow_rebuild": OWNER,
    "hookflow_checkpoint --output {file}": OWNER,
    "hookflow_partitions add": OWNER,
    "cleanup_workflows --days-old 0 --archive-to {directory}": OWNER,
}
SETTINGS = {"DJANGO_HOOKFLOW_TRANSPORT": "inline", "DJANGO_HOOKFLOW_CHECKPOINT_KEY": "of-a-test-" * 4}


@pytest.fixture(scope="module")
def guarded(dba: DBA) -> Guarded:
    """With a run that has ended, so that there is something to verify and to clean up."""
    guarded = dba.create_guarded()
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        end_run(session, "ended")
    return guarded


@pytest.mark.parametrize("command", COMMANDS)
def test_who_may_run_it(deploy: Deploy, guarded: Guarded, tmp_path: Path, command: str) -> None:
    for login in ("analyst", "web", "deployer"):
        arguments = command.format(file=tmp_path / f"{login}.checkpoint", directory=tmp_path).split()
        done = deploy(getattr(guarded, login), **SETTINGS).manage(*arguments)
        if login in COMMANDS[command]:
            assert done.returncode == 0, f"{login}: {done.stderr}"
        else:
            assert done.returncode != 0, f"{login}: {done.stdout}"
            assert "permission denied" in done.stderr or "is not allowed to" in done.stderr, f"{login}: {done.stderr}"
            assert list(tmp_path.iterdir()) == [tmp_path / "log"], f"{login} leaves something behind"


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("cleanup_workflows --days-old 0 --archive-to {directory}", "retire runs"),
        ("cleanup_workflows --days-old 0", "retire runs"),
        ("cleanup_workflows --days-old 0 --dlq-only", "remove dead letters"),
        ("hookflow_partitions add", "change partitions"),
        ("hookflow_rebuild", "rebuild projections"),
        ("hookflow_checkpoint --output {directory}/new.checkpoint", "make checkpoints"),
    ],
)
def test_the_others_learn_whom_it_takes(
    deploy: Deploy, guarded: Guarded, tmp_path: Path, command: str, what: str
) -> None:
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        fail_run(session)
    refused = deploy(guarded.web, **SETTINGS).manage(*command.format(directory=tmp_path).split())
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        f"CommandError: the database role of this process is not allowed to {what}: use a role that is a member of hookflow_owner"
    ]


#: A subscriber of the application's own, and a pass over what there is for it.
SUBSCRIBE = """
from django.core.management import call_command
from django_hookflow import on_event

@on_event("*", name="everything", from_start=True)
def show(event):
    print("seen", event.type)

call_command("hookflow_subscribers", once=True)
"""


def test_a_subscriber_runs_with_the_credentials_of_the_application(dba: DBA, deploy: Deploy) -> None:
    """It keeps its place in a table of its own, which the application alone may write beside the owner."""
    guarded = dba.create_guarded()
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        start(session=session)
    done = deploy(guarded.web, **SETTINGS).manage("shell", "-c", SUBSCRIBE)
    assert (done.returncode, "seen run.triggered" in done.stdout) == (0, True), done.stderr
    refused = deploy(guarded.analyst, **SETTINGS).manage("shell", "-c", SUBSCRIBE)
    assert "permission denied for table django_hookflow_subscriber" in refused.stderr


def test_the_owner_retires_runs(deploy: Deploy, guarded: Guarded, tmp_path: Path) -> None:
    """Not merely let in: a run that has ended becomes a tombstone."""
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        end_run(session, "to-be-retired")
    cleanup = ("cleanup_workflows", "--days-old", "0", "--archive-to", str(tmp_path))
    done = deploy(guarded.deployer, **SETTINGS).manage(*cleanup)
    assert done.returncode == 0, done.stderr
    head = "FROM django_hookflow_head WHERE run_id = 'to-be-retired'"
    assert guarded.database.value(f"SELECT archived_at IS NOT NULL {head}")
    assert (
        guarded.database.value(f"SELECT count(*) FROM django_hookflow_event WHERE run_uid = (SELECT run_uid {head})")
        == 0
    )


def fail_run(session: psycopg.Connection[Any]) -> None:
    run_uid = uuid7()
    start(run_uid=run_uid, session=session)
    append(run_uid, 1, failure(), ends_turn=True, session=session)


def end_run(session: psycopg.Connection[Any], run_id: str) -> None:
    run_uid = uuid7()
    start(run_id, run_uid=run_uid, session=session)
    append(run_uid, 1, step("a"), ("run.completed", None, {"result": 1}), ends_turn=True, session=session)
