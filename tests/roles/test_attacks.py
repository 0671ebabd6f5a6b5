"""Scenario 16, the application's half: whoever has the application's credentials cannot change the past.

Each attack is one that its SQLSTATE must answer, on a session of the login itself, and nothing may have changed
afterwards. What the owner of the database can do all the same is found by ``hookflow_verify``: see tests/evidence.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from tests.e2e.database import Database
from tests.log.calls import append, ask, claim, failure, start, step
from tests.roles.dba import DBA, Guarded

DENIED = "42501"  # insufficient_privilege

#: The login has a schema of its own, {attic}, so that an attack does not fail for want of a place to work in.
ATTACKS = {
    # The log itself.
    "update events": "UPDATE django_hookflow_event SET payload = '{{}}'",
    "update a partition": "UPDATE django_hookflow_event_all SET recorded_at = now()",
    "update in place of a redaction": (
        "UPDATE django_hookflow_event SET payload = NULL, salt = NULL, "
        "payload_digest = sha256(salt || convert_to(payload::text, 'UTF8'))"
    ),
    "delete events": "DELETE FROM django_hookflow_event",
    "delete from a partition": "DELETE FROM django_hookflow_event_all",
    "truncate events": "TRUNCATE django_hookflow_event",
    "truncate as a test environment may": "SET hookflow.allow_truncate = on; TRUNCATE django_hookflow_event_all",
    "insert an event": (
        "INSERT INTO django_hookflow_event (run_uid, seq, type, facts, recorded_at, hash) "
        "VALUES ('{run_uid}', 99, 'run.completed', '{{}}', now(), sha256(''))"
    ),
    "insert into a partition": "INSERT INTO django_hookflow_event_all SELECT * FROM django_hookflow_event",
    "copy events in": "COPY django_hookflow_event FROM STDIN",
    "in a block": "DO $$ BEGIN DELETE FROM django_hookflow_event; END $$",
    "through the view of what may be read": "UPDATE hookflow_event_readable SET type = 'run.failed'",
    "through a view of one's own": (
        "CREATE VIEW {attic}.mine AS SELECT * FROM django_hookflow_event; UPDATE {attic}.mine SET type = 'run.failed'"
    ),
    "lock events away": "DO $$ BEGIN LOCK TABLE django_hookflow_event IN SHARE MODE; END $$",
    "lock rows of the log": "SELECT FROM django_hookflow_event FOR UPDATE",
    # Heads and projections.
    "cut a tail": "UPDATE django_hookflow_head SET last_seq = 1",
    "make a tombstone": "UPDATE django_hookflow_head SET archived_at = now()",
    "drop a run": "DELETE FROM django_hookflow_head",
    "invent a head": "INSERT INTO django_hookflow_head SELECT * FROM django_hookflow_head",
    "hold heads": "SELECT FROM django_hookflow_head FOR NO KEY UPDATE",
    "complete a run by hand": "UPDATE django_hookflow_workflowrun SET status = 'completed'",
    "remove a run's row": "DELETE FROM django_hookflow_workflowrun",
    "change a result": "UPDATE django_hookflow_stepexecution SET seq = 1",
    "end a wait": "DELETE FROM django_hookflow_wait",
    "put off a deadline": "UPDATE django_hookflow_wait SET due_at = 'infinity'",
    "hide a failure": "DELETE FROM django_hookflow_deadletterentry",
    "take a lease": "INSERT INTO django_hookflow_lease VALUES ('{run_uid}', 1, 'me', now(), 'infinity')",
    "announce a turn": "INSERT INTO django_hookflow_outbox (run_uid, seq, announced_at, send_at) VALUES ('{run_uid}', 1, now(), now())",
    "withdraw a turn": "DELETE FROM django_hookflow_outbox",
    "wake a run early": "UPDATE django_hookflow_outbox SET due_at = now()",
    "draw positions": "SELECT nextval('django_hookflow_event_position_seq')",
    "set the sequence back": "SELECT setval('django_hookflow_event_position_seq', 1)",
    # What protects them.
    "disable the guards": "ALTER TABLE django_hookflow_event DISABLE TRIGGER ALL",
    "drop a guard": "DROP TRIGGER pgtrigger_guard_23500 ON django_hookflow_event",
    "replace a guard": (
        "CREATE OR REPLACE FUNCTION pgtrigger_guard_23500() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ),
    "be a replica": "SET session_replication_role = replica",
    "drop the log": "DROP TABLE django_hookflow_event",
    "detach a partition": "ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all",
    "rename the log": "ALTER TABLE django_hookflow_event RENAME TO forgotten",
    "add a column": "ALTER TABLE django_hookflow_event ADD COLUMN note text",
    "add a trigger": (
        "CREATE FUNCTION {attic}.forge() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER forge BEFORE INSERT ON django_hookflow_event FOR EACH ROW EXECUTE FUNCTION {attic}.forge()"
    ),
    "add a rule": "CREATE RULE forge AS ON INSERT TO django_hookflow_head DO INSTEAD NOTHING",
    "add rows by inheritance": "CREATE TABLE {attic}.heads () INHERITS (django_hookflow_head)",
    "add a foreign key": (
        "CREATE TABLE {attic}.holding (run_uid uuid REFERENCES django_hookflow_head ON DELETE RESTRICT)"
    ),
    "add an index with a function": "CREATE INDEX ON django_hookflow_head (md5(run_id))",
    "add a policy": "CREATE POLICY forge ON django_hookflow_head USING (true)",
    # What writes them.
    "stop the clock": (
        "CREATE OR REPLACE FUNCTION hookflow_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE "
        "AS $$ SELECT 'epoch'::timestamptz $$"
    ),
    "redefine a function": "CREATE OR REPLACE FUNCTION hookflow_refuse(uuid, integer) RETURNS void LANGUAGE sql AS ''",
    "drop a function": "DROP FUNCTION hookflow_now",
    "have a function look elsewhere": "ALTER FUNCTION hookflow_start SET search_path = {attic}",
    "have a function run as its caller": "ALTER FUNCTION hookflow_append SECURITY INVOKER",
    "call a fold": ("SELECT hookflow_project(e) FROM (SELECT * FROM django_hookflow_event LIMIT 1) AS e"),
    "call a refusal": "SELECT hookflow_refuse('{run_uid}', 1)",
    "ask for a refusal": "SELECT hookflow_refuse_to('forge', '{run_uid}', 'so')",
    "have an operation checked": "SELECT hookflow_check('{run_uid}', 'cancel')",
    "settle a wait": "SELECT hookflow_settle('{run_uid}', 'a', 'doubt', NULL, 'me', NULL, NULL)",
    "announce a turn by the function": "SELECT hookflow_announce('{run_uid}', 1, true, NULL, NULL)",
    "end a run's time": "SELECT hookflow_time_out('{run_uid}')",
    "look into a rewind": "SELECT hookflow_steps_from('{run_uid}', 'a')",
    "redact": "SELECT hookflow_redact('{run_uid}', 1, NULL, 'forged', 'me')",
    "put a function beside them": "CREATE FUNCTION sha256(text) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
    "put an operator beside them": "CREATE OPERATOR public.|| (FUNCTION = byteacat, LEFTARG = bytea, RIGHTARG = bytea)",
    "put a table beside them": "CREATE TABLE django_hookflow_event_more ()",
    "put a schema beside them": "CREATE SCHEMA impostor",
    "search elsewhere for everyone": "ALTER DATABASE {database} SET search_path = {attic}",
    # Becoming somebody else.
    "be the owner": "SET ROLE {owner}",
    "be the redactor": "SET ROLE {redactor}",
    "become a member": "GRANT {owner} TO {web}",
    "take over": "REASSIGN OWNED BY {owner} TO {web}",
    "own the log": "ALTER TABLE django_hookflow_event OWNER TO {web}",
    "change the owner's search_path": "ALTER ROLE {owner} SET search_path = {attic}",
    "log in as the owner": "ALTER ROLE {owner} LOGIN",
    "edit the catalog": "UPDATE pg_proc SET prosecdef = false",
    "ask the system": "COPY django_hookflow_event TO PROGRAM 'cat'",
    "change the server": "ALTER SYSTEM SET session_replication_role = replica",
}
#: What readers and redactors must be refused beside what everyone is.
WRITING = {
    "start": "SELECT hookflow_start('{run_uid}', 'forged', 'w', '{{}}', '{{}}', NULL)",
    "append": (
        "SELECT hookflow_append('{run_uid}', NULL, ARRAY['run.failed'], ARRAY[NULL], ARRAY['{{}}'::json], ARRAY[NULL]::json[], NULL)"
    ),
    "operate": "SELECT hookflow_operate('{run_uid}', 'cancel', NULL, '{{}}', NULL, NULL, NULL, NULL)",
    "expire": "SELECT hookflow_expire('shop.order', 'order-1')",
    "postpone": "UPDATE django_hookflow_outbox SET send_at = 'infinity'",
}


#: What the server answers with a warning, and does not do.
WITHOUT_EFFECT = {
    "be given it all": "GRANT ALL ON django_hookflow_event, django_hookflow_head TO {web}",
    "take it from others": "REVOKE ALL ON django_hookflow_event FROM {owner}",
    "give the schema away": "GRANT CREATE ON SCHEMA public TO {web}",
    "rewrite the table": "VACUUM FULL django_hookflow_event",
}


@dataclass(frozen=True)
class Scene:
    guarded: Guarded
    names: dict[str, Any]
    tables: list[str]

    def everything(self) -> list[Any]:
        """The contents of every table of the log, and how far its sequence has gone."""
        content = (
            f"SELECT '{table}', (SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} AS t)"
            for table in self.tables
        )
        position = "SELECT 'position', last_value::text FROM django_hookflow_event_position_seq"
        return self.guarded.database.rows(" UNION ALL ".join([position, *content]))


@pytest.fixture(scope="module")
def scene(dba: DBA, guarded: Guarded) -> Scene:
    run_uid, web, attic = uuid.uuid4(), dba.role("web"), "attic"
    guarded.database.execute(f"CREATE SCHEMA {attic} AUTHORIZATION {web}")
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        start("order-1", run_uid=run_uid, session=session)
        claim("order-1", 1, session=session)
        append(run_uid, 2, step("a", "as it was"), step("b"), session=session)
        start("order-2", session=session)
        failed = start("order-3", session=session)["run_uid"]
        append(failed, 1, failure(), ends_turn=True, session=session)
    names = {
        "run_uid": run_uid,
        "attic": attic,
        "web": web,
        "owner": dba.role("owner"),
        "redactor": dba.role("redactor"),
    }
    tables = guarded.database.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relname LIKE 'django\\_hookflow\\_%%' AND relkind = 'r'"
    )
    return Scene(guarded, {**names, "database": guarded.database.name}, [table for (table,) in tables])


def attack(scene: Scene, login: Database, statement: str) -> str | None:
    """The SQLSTATE with which the server refuses; None if it does not."""
    try:
        with psycopg.connect(login.conninfo, autocommit=True) as session:
            session.execute(statement.format(**scene.names).encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.mark.parametrize("name", ATTACKS)
def test_the_application_is_refused(scene: Scene, name: str) -> None:
    """Scenario 16: as application role."""
    before = scene.everything()
    assert attack(scene, scene.guarded.web, ATTACKS[name]) == DENIED
    assert scene.everything() == before


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_the_application_has_no_effect(dba: DBA, scene: Scene, name: str) -> None:
    """Scenario 16: what PostgreSQL does not call an error."""
    before = scene.everything()
    rights = "SELECT oid, relfilenode, relacl::text FROM pg_class UNION SELECT oid, 0, nspacl::text FROM pg_namespace ORDER BY 1"
    rights_before = scene.guarded.database.rows(rights)
    assert attack(scene, scene.guarded.web, WITHOUT_EFFECT[name]) is None
    assert scene.everything() == before
    assert scene.guarded.database.rows(rights) == rights_before


@pytest.mark.parametrize("login", ["analyst", "officer"])
def test_readers_and_redactors_are_refused(scene: Scene, login: str) -> None:
    """The same as the application, and what the application may on top of it."""
    before = scene.everything()
    statements = {**ATTACKS, **WRITING}
    if login == "officer":
        statements = {name: text for name, text in statements.items() if name not in ("redact", "be the redactor")}
    # What needs the schema that only the application's login has, fails for them all the sooner.
    answers = {name: attack(scene, getattr(scene.guarded, login), text) for name, text in statements.items()}
    assert {name: answer for name, answer in answers.items() if answer != DENIED} == {}
    assert scene.everything() == before


def test_a_stranger_sees_nothing(dba: DBA, scene: Scene) -> None:
    stranger = dba.login("stranger", scene.guarded.database)
    for statement in ("TABLE django_hookflow_event", "TABLE django_hookflow_workflowrun", *WRITING.values()):
        assert attack(scene, stranger, statement) == DENIED


def test_the_refusals_are_not_those_of_a_login_that_cannot_get_in(scene: Scene) -> None:
    for login in (scene.guarded.web, scene.guarded.analyst, scene.guarded.officer):
        assert login.value("SELECT count(*) FROM django_hookflow_event") == 7
    assert attack(scene, scene.guarded.web, "UPDATE django_hookflow_outbox SET send_at = now()") is None


#: What a session puts in the way of the functions that run as the owner: tables of its own before the log's, and a
#: schema full of impostors before everything.
IN_THE_WAY = """
CREATE TEMP TABLE django_hookflow_event (LIKE django_hookflow_event INCLUDING DEFAULTS);
CREATE TEMP TABLE django_hookflow_head (LIKE django_hookflow_head);
CREATE TEMP TABLE django_hookflow_workflowrun (LIKE django_hookflow_workflowrun);
CREATE TEMP TABLE django_hookflow_outbox AS TABLE django_hookflow_outbox;
INSERT INTO pg_temp.django_hookflow_head SELECT * FROM public.django_hookflow_head;
CREATE FUNCTION {attic}.hookflow_now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
CREATE FUNCTION {attic}.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT decode(repeat('00', 32), 'hex') $$;
CREATE FUNCTION {attic}.hookflow_event_hash(bytea, uuid, integer, timestamptz, smallint, text, text, text, text, bytea)
  RETURNS bytea LANGUAGE sql AS $$ SELECT decode(repeat('00', 32), 'hex') $$;
CREATE FUNCTION {attic}.hookflow_project(public.django_hookflow_event) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION {attic}.nextval(text) RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint $$;
CREATE FUNCTION {attic}.equal(uuid, uuid) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR {attic}.= (FUNCTION = {attic}.equal, LEFTARG = uuid, RIGHTARG = uuid);
CREATE FUNCTION {attic}.nothing(bytea, bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
CREATE OPERATOR {attic}.|| (FUNCTION = {attic}.nothing, LEFTARG = bytea, RIGHTARG = bytea);
SET search_path = {attic}, pg_temp, public, pg_catalog;
"""
CHAIN = """
    SELECT bool_and(hash = expected) FROM (
      SELECT hash, hookflow_event_hash(coalesce(lag(hash) OVER (ORDER BY seq), sha256(uuid_send(run_uid))), run_uid, seq,
        recorded_at, version, type, step_id, actor, facts::text, sha256(salt || convert_to(payload::text, 'UTF8'))) AS expected
      FROM django_hookflow_event WHERE run_uid = %s) AS chain
"""


def test_what_a_session_puts_in_the_way_does_not_deceive_the_functions(scene: Scene) -> None:
    """Scenario 16: tables, functions and operators of one's own, before those of the log and of PostgreSQL itself."""
    guarded, run_uid = scene.guarded, uuid.uuid4()
    with psycopg.connect(guarded.web.conninfo, autocommit=True) as session:
        session.execute(IN_THE_WAY.format(**scene.names).encode())
        run = start("deceived", run_uid=run_uid, session=session)
        assert (run["created"], run["seq"]) == (True, 1)
        assert claim("deceived", 1, session=session)[0]["answer"] == "run"
        append(run_uid, 2, step("a"), session=session)
        append(run_uid, 3, ("run.completed", None, {"result": 1}), ends_turn=True, session=session)
        assert ask("SELECT count(*) AS n FROM pg_temp.django_hookflow_event", session=session) == [{"n": 0}]
    assert guarded.database.value(CHAIN, run_uid) is True
    assert guarded.database.rows(
        "SELECT status, completed_at > now() - interval '1 hour' FROM django_hookflow_workflowrun WHERE id = %s",
        run_uid,
    ) == [("completed", True)]
    assert guarded.database.rows("SELECT FROM django_hookflow_outbox WHERE run_uid = %s", run_uid) == []
    assert (
        guarded.database.value("SELECT count(*) FROM django_hookflow_head WHERE run_id = 'order-1' AND last_seq = 4")
        == 1
    )


def test_the_redactor_redacts(scene: Scene) -> None:
    run_uid = uuid.uuid4()
    with psycopg.connect(scene.guarded.web.conninfo, autocommit=True) as session:
        start("of-a-person", {"email": "someone@example.org"}, run_uid=run_uid, session=session)
        append(run_uid, 1, ("run.completed", None, {"result": 1}), ends_turn=True, session=session)
    redacted = scene.guarded.officer.value("SELECT hookflow_redact(%s, 1, NULL, 'asked for', 'officer')", run_uid)
    assert redacted == 1
    assert scene.guarded.analyst.value(
        "SELECT payload IS NULL FROM django_hookflow_event WHERE run_uid = %s AND seq = 1", run_uid
    )
