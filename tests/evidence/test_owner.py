"""Scenario 33: what the owner of the database can do, and which tools find it. With every trigger on, unless it says otherwise.

Each attack lists every tool that is to find it, and no other: what the README says of the layers is this table. Whatever
nothing finds stands here, too.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection

from django_hookflow.sql import load
from tests.evidence.checkpointing import checkpoint
from tests.evidence.exporting import FIRST, LAST, archive, run_audit
from tests.evidence.tampering import make_run, retire, rewrite_chain
from tests.log.calls import append, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

pytestmark = pytest.mark.django_db  # each attack is rolled back, what it does to functions and triggers with it

VERIFY, CHECKPOINT, ARCHIVES, REBUILD = (
    "hookflow_verify",
    "--checkpoint",
    "hookflow_archive --all",
    "hookflow_rebuild --check",
)
SCRIPT, CHECK = "audit.py --checkpoint", "check --database"

#: What the check says of objects that are not as they were installed.
OF_OBJECTS = {f"django_hookflow.{number}" for number in ("E021", "E025", "E026", "E027", "E028")}

UID = "(SELECT run_uid FROM django_hookflow_head WHERE run_id = '{}')"
RUN_2 = UID.format("order-2")
MARK = "UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'order-2'"
DELETE_EVENTS = f"DELETE FROM django_hookflow_event WHERE run_uid = {RUN_2}"
DELETE_ROW = "DELETE FROM django_hookflow_workflowrun WHERE run_id = 'order-2'"
TRUNCATE = "SET hookflow.allow_truncate = 'on'; TRUNCATE django_hookflow_event"
#: As the guard of 0001 admits it, with a digest in its place.
REDACT = (
    "UPDATE django_hookflow_event SET payload = NULL, salt = NULL, payload_digest = sha256(salt || convert_to(payload::text, 'UTF8')) "
    f"WHERE run_uid = {RUN_2} AND seq = 5"
)
FORGE_RETAINED = f"""
    SELECT hookflow_append({RUN_2}, NULL, ARRAY['event.redacted', 'event.retained'], ARRAY[NULL, NULL],
      ARRAY['{{"seq":5,"path":["a"],"login":"ada"}}', '{{"seq":5}}']::json[],
      ARRAY['{{"reason":"asked for"}}', '{{"payload":{{"result":"forged","a":"[redacted]"}}}}']::json[], 'ada')
"""
#: A run of the same names and as many events as the archived one had, in its place.
REPLACE = """
    UPDATE django_hookflow_head SET archived_at = NULL, tombstone = NULL, tombstone_hash = NULL, last_seq = 0,
      head_hash = sha256(uuid_send(run_uid)) WHERE run_id = 'order-4';
    SELECT hookflow_append(run_uid, NULL, ARRAY['run.triggered'] || array_fill('note'::text, ARRAY[7]), array_fill(NULL::text, ARRAY[8]),
      ARRAY['{"run_id":"order-4","workflow":"shop.order"}'::json] || array_fill('{}'::json, ARRAY[7]), array_fill('{}'::json, ARRAY[8]), NULL)
    FROM django_hookflow_head WHERE run_id = 'order-4'
"""
RETIRE = """
    SELECT hookflow_retire(ARRAY[run_uid], ARRAY[last_seq], ARRAY[head_hash], 'infinity', false, false, {})
    FROM django_hookflow_head WHERE run_id = 'order-2'
"""
ATTACKS: dict[str, tuple[list[str], set[str]]] = {
    "nothing": ([], set()),
    "a run marked as archived, its events deleted": (
        [MARK, DELETE_EVENTS, DELETE_ROW],
        {VERIFY, CHECKPOINT, ARCHIVES, SCRIPT},
    ),
    "the same, and its row left": ([MARK, DELETE_EVENTS], {VERIFY, CHECKPOINT, ARCHIVES, SCRIPT, REBUILD}),
    "a run retired by the function, without an archive": ([RETIRE.format("NULL")], {CHECKPOINT, ARCHIVES, SCRIPT}),
    "a run retired by the function, into no archive": (
        [RETIRE.format("'old.jsonl.gz'")],
        {CHECKPOINT, ARCHIVES, SCRIPT},
    ),
    "a run removed with its head": (
        [MARK, DELETE_EVENTS, DELETE_ROW, "DELETE FROM django_hookflow_head WHERE run_id = 'order-2'"],
        {CHECKPOINT, SCRIPT},
    ),
    "a run removed that was made since the checkpoint": (
        [
            "UPDATE django_hookflow_head SET archived_at = now() WHERE run_id = 'since'",
            f"DELETE FROM django_hookflow_event WHERE run_uid = {UID.format('since')}",
            "DELETE FROM django_hookflow_workflowrun WHERE run_id = 'since'",
            "DELETE FROM django_hookflow_head WHERE run_id = 'since'",
        ],
        set(),
    ),
    "a tombstone removed": (["DELETE FROM django_hookflow_head WHERE run_id = 'order-4'"], {CHECKPOINT, ARCHIVES}),
    "a tombstone taken back, and other events in its place": ([REPLACE], {CHECKPOINT, ARCHIVES, SCRIPT}),
    "a run renamed": (
        ["UPDATE django_hookflow_head SET run_id = 'other' WHERE run_id = 'order-2'"],
        {VERIFY, CHECKPOINT},
    ),
    "an archived run renamed": (
        ["UPDATE django_hookflow_head SET run_id = 'other' WHERE run_id = 'order-4'"],
        {VERIFY, CHECKPOINT, ARCHIVES},
    ),
    "a run of another workflow": (
        ["UPDATE django_hookflow_head SET workflow_id = 'other' WHERE run_id = 'order-2'"],
        {VERIFY, CHECKPOINT},
    ),
    "another label": (["UPDATE django_hookflow_workflowrun SET label = 'other' WHERE run_id = 'order-2'"], {REBUILD}),
    "a head that ends earlier": (
        ["UPDATE django_hookflow_head SET last_seq = 5 WHERE run_id = 'order-2'"],
        {VERIFY, CHECKPOINT},
    ),
    "a row of an archived run": (
        [
            "INSERT INTO django_hookflow_workflowrun SELECT head.run_uid, 'order-4', workflow_id, 'failed', data, result, error_type, "
            "error_message, label, created_at, updated_at, completed_at FROM django_hookflow_workflowrun AS run, "
            "(SELECT run_uid FROM django_hookflow_head WHERE run_id = 'order-4') AS head WHERE run.run_id = 'order-2'"
        ],
        {REBUILD},
    ),
    "events emptied as in a test environment": ([TRUNCATE], {VERIFY, CHECKPOINT, REBUILD, SCRIPT}),
    "events detached": (
        ["ALTER TABLE django_hookflow_event DETACH PARTITION django_hookflow_event_all"],
        {VERIFY, CHECKPOINT, REBUILD, SCRIPT},
    ),
    "everything emptied": (
        [
            # A project's foreign keys to a run are looked at when the transaction ends, which TRUNCATE does not wait for.
            "SET CONSTRAINTS ALL IMMEDIATE",
            f"{TRUNCATE}, django_hookflow_head, django_hookflow_workflowrun, django_hookflow_wait, "
            "django_hookflow_deadletterentry CASCADE",
        ],
        {CHECKPOINT, ARCHIVES, SCRIPT},
    ),
    "checkpoints emptied": (["SET hookflow.allow_truncate = 'on'; TRUNCATE django_hookflow_checkpoint"], {CHECKPOINT}),
    "a payload redacted without a word": ([REDACT], {VERIFY, CHECKPOINT, SCRIPT}),
    "a redaction on record that was not made": ([FORGE_RETAINED], {VERIFY, CHECKPOINT, SCRIPT}),
    "a payload redacted, and another retained of it": ([REDACT, FORGE_RETAINED], set()),
    "the function that appends": (
        [
            "CREATE OR REPLACE FUNCTION hookflow_refuse(p_run_uid uuid, p_expected_seq integer) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'"
        ],
        {CHECK},
    ),
    "the function of a guard": (
        [
            "CREATE OR REPLACE FUNCTION pgtrigger_guard_23500() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp"
            " AS 'BEGIN RETURN coalesce(NEW, OLD); END'"
        ],
        {CHECK},
    ),
    "a planted trigger": (
        [
            "CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER forge BEFORE INSERT ON django_hookflow_event FOR EACH ROW EXECUTE FUNCTION forge()",
        ],
        {CHECK},
    ),
    "a guard switched off, and left so": (
        [
            "ALTER TABLE django_hookflow_head DISABLE TRIGGER ALL",
            "ALTER TABLE django_hookflow_event DISABLE TRIGGER pgtrigger_guard_23500",
        ],
        {CHECK},
    ),
    "a chain written anew, with triggers off": ([], {CHECKPOINT, SCRIPT, REBUILD}),
}
REWRITTEN = f'UPDATE django_hookflow_event SET payload = \'{{"result":"forged"}}\' WHERE run_uid = {RUN_2} AND seq = 8'


def _export(path: Path, first: UUID | str = FIRST, last: UUID | str = LAST) -> Path:
    """What an auditor exports, as this transaction sees it."""
    with connection.cursor() as cursor:
        cursor.execute(load("event_lines"), {"from": first, "to": last})
        path.write_text("".join(f"{line}\n" for (line,) in cursor.fetchall()), encoding="utf-8")
    return path


def _fails(command: str, *arguments: Any) -> bool:
    try:
        call_command(command, *map(str, arguments), stdout=StringIO())
    except (SystemExit, CommandError):
        return True
    return False


def _tools(tmp_path: Path) -> dict[str, Callable[[], bool]]:
    """What each tool finds when it looks."""
    kept, files = tmp_path / "one.jsonl", tmp_path / "archives"
    against = ("--checkpoint", kept, "--archives", files)
    return {
        VERIFY: lambda: _fails("hookflow_verify"),
        CHECKPOINT: lambda: _fails("hookflow_verify", *against),
        ARCHIVES: lambda: _fails("hookflow_archive", "verify", "--all", files),
        REBUILD: lambda: _fails("hookflow_rebuild", "--check"),
        SCRIPT: lambda: (
            run_audit("--checkpoint", kept, _export(tmp_path / "events.jsonl"), *files.glob("*.gz"))[0] != 0
        ),
        CHECK: lambda: not OF_OBJECTS.isdisjoint(message.id for message in run_checks(databases=["default"])),
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_scenario_33_what_the_owner_does_is_found_by_these_tools_and_no_others(attack: str, tmp_path: Path) -> None:
    statements, found_by = ATTACKS[attack]
    uids = {run_id: make_run(run_id) for run_id in ("order-1", "order-2", "order-3", "order-4")}
    (tmp_path / "archives").mkdir()
    archived = archive(
        tmp_path / "archives" / "kept.jsonl.gz", _export(tmp_path / "kept", uids["order-4"], uids["order-4"])
    )
    retire(uids["order-4"], archive=archived.name)
    checkpoint(tmp_path / "one.jsonl")
    append(make_run("since"), None, ("note", None, 1))
    if attack.startswith("a chain written anew"):
        rewrite_chain(uids["order-2"], REWRITTEN)
    for statement in statements:
        ask(statement)
    assert {tool for tool, finds in _tools(tmp_path).items() if finds()} == found_by
