"""What ``check --deploy`` says of the layers, to each kind of login. The command itself runs in test_by_hand.py."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from django_hookflow.checks.protection import Layers, describe, look
from tests.e2e.database import Database
from tests.roles.dba import DBA, ROLES, Guarded

#: What a DBA may have left a login of hookflow_app with, and what is found of it. {web} is the login.
WAYS_AROUND = {
    "GRANT TRIGGER ON django_hookflow_event_all TO {web}": "has privileges to write to the tables of the log",
    "GRANT DELETE ON django_hookflow_head TO PUBLIC": "has privileges to write to the tables of the log",
    "GRANT CREATE ON SCHEMA public TO {web}": (
        "can create objects in the schema of the log, in front of the log's own"
    ),
}


def look_as(login: Database, *, guards: bool = True) -> Layers:
    with psycopg.connect(login.conninfo) as session, session.cursor() as cursor:
        layers = look(cursor, guards=guards)
    assert layers is not None
    return layers


def test_the_application_is_confined(dba: DBA, guarded: Guarded) -> None:
    layers = look_as(guarded.web)
    assert layers.text == (
        f"guards on, privileges on for {dba.role('web')}, hash chain on, signed checkpoints off, archive off"
    )
    (message,) = describe(layers)
    assert (message.id, message.msg) == ("django_hookflow.I030", f"Protection of the event log: {layers.text}.")
    assert str(message.hint).startswith("Checkpoints: without them, removed or truncated runs")


def test_owners_are_not(guarded: Guarded) -> None:
    assert look_as(guarded.database).way_around == "is a superuser"
    assert look_as(guarded.deployer).way_around == "owns the tables of the log, or can act as their owner"
    warning = list(describe(look_as(guarded.deployer)))[-1]
    assert warning.id == "django_hookflow.W030"
    assert "anyone with the application's credentials can change the log" in warning.msg
    assert str(warning.hint).startswith("Run migrations_sql/roles.sql")


@pytest.mark.parametrize("grant", WAYS_AROUND)
def test_every_way_around_is_named(dba: DBA, guarded: Guarded, grant: str) -> None:
    statement = grant.format(web=dba.role("web"))
    guarded.database.execute(statement)
    try:
        assert look_as(guarded.web).way_around == WAYS_AROUND[grant]
    finally:
        guarded.database.execute(statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        dba.apply(guarded.database, ROLES)
    assert look_as(guarded.web).way_around == ""


def test_checkpoints_and_an_archive_count_when_they_are_there(dba: DBA, settings: Any) -> None:
    guarded = dba.create_guarded()
    guarded.database.execute(
        "INSERT INTO django_hookflow_checkpoint (made_at, runs, events, root, token_digest) "
        "VALUES ('2026-05-01 12:00+00', 0, 0, sha256(''), sha256(''))"
    )
    settings.DJANGO_HOOKFLOW_ARCHIVE_DIR = "/var/lib/archive"
    layers = look_as(guarded.web)
    assert layers.text.endswith("signed checkpoints on (last made on 2026-05-01), archive on")
    assert [message.hint for message in describe(layers)] == ["All protections are on."]
    assert "Guards: see E021." in str(next(describe(look_as(guarded.web, guards=False))).hint)


def test_without_a_log_nothing_is_found(dba: DBA) -> None:
    with psycopg.connect(dba.create_database().conninfo) as session, session.cursor() as cursor:
        assert look(cursor, guards=False) is None
