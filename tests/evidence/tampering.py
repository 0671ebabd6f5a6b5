"""What the owner of the tables can do to them with the guards off, and the command that is to find it."""

from __future__ import annotations

import contextlib
from io import StringIO
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.db import DatabaseError, transaction

from tests.log.calls import append, ask, log_of, start, step

if TYPE_CHECKING:
    from uuid import UUID

GUARD = "pgtrigger_guard_23500"
RULES = "django_hookflow_event_is_well_formed"


def tamper(*statements: str) -> None:
    """Runs statements as the owner, who lifts the guard and the rules first and, not to be noticed, puts them back."""
    (rules,) = ask("SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = %s LIMIT 1", RULES)
    ask(f"ALTER TABLE django_hookflow_event DISABLE TRIGGER {GUARD}, DROP CONSTRAINT {RULES}")
    for statement in statements:
        ask(statement)
    ask(f"ALTER TABLE django_hookflow_event ENABLE ALWAYS TRIGGER {GUARD}")
    ask(
        f"ALTER TABLE django_hookflow_event ADD CONSTRAINT {RULES} {rules['text'].removesuffix(' NOT VALID')} NOT VALID"
    )
    # Rows that still keep the rules leave no trace in the catalog, which other tests of this database compare.
    with contextlib.suppress(DatabaseError), transaction.atomic():
        ask(f"ALTER TABLE django_hookflow_event VALIDATE CONSTRAINT {RULES}")


def make_run(run_id: str, steps: int = 5) -> UUID:
    """A run of ``steps`` + 3 events: triggered, a turn, its steps, completed."""
    uid: UUID = start(run_id, {"order": run_id})["run_uid"]
    append(uid, 1, ("turn.started", None, None, {"worker": "w"}))
    for number in range(steps):
        append(uid, number + 2, step(f"step-{number}", {"number": number}), actor="ann" if number == 1 else None)
    append(uid, steps + 2, ("run.completed", None, {"result": 1}), ends_turn=True)
    return uid


def verify(*arguments: Any) -> tuple[int, list[str], str]:
    """The exit status of ``hookflow_verify``, the problems it prints, and its last line."""
    output = StringIO()
    status = 0
    try:
        call_command("hookflow_verify", *map(str, arguments), stdout=output)
    except SystemExit as exit_:
        status = int(str(exit_.code))
    *problems, last = output.getvalue().splitlines()
    return status, problems, last


def retire(*uids: UUID, archive: str | None = None, keeps_dead_letters: bool = False) -> None:
    """Retires runs that have ended as cleanup_workflows does, with the archive that it says there is."""
    ask(
        "SELECT hookflow_retire(array_agg(run_uid), array_agg(last_seq), array_agg(head_hash), 'infinity', %s, false, %s)"
        " FROM django_hookflow_head WHERE run_uid = ANY (%s)",
        *(keeps_dead_letters, archive, list(uids)),
    )


def rewrite_chain(uid: UUID, change: str) -> None:
    """The owner's best: changes an event, and computes every hash after it anew, and the head."""
    seqs = [event["seq"] for event in log_of(uid)]
    recompute = """
        UPDATE django_hookflow_event AS event SET hash = hookflow_event_hash(
          coalesce(before.hash, sha256(uuid_send(event.run_uid))), event.run_uid, event.seq, event.recorded_at, event.version,
          event.type, event.step_id, event.actor, event.facts::text,
          coalesce(event.payload_digest, sha256(event.salt || convert_to(event.payload::text, 'UTF8'))))
        FROM (SELECT 1) AS one LEFT JOIN django_hookflow_event AS before ON before.run_uid = '{uid}' AND before.seq = {seq} - 1
        WHERE event.run_uid = '{uid}' AND event.seq = {seq}
    """
    tamper(
        change,
        *(recompute.format(uid=uid, seq=seq) for seq in seqs),
        f"""
        UPDATE django_hookflow_head AS head SET last_seq = event.seq, head_hash = event.hash, last_at = event.recorded_at
        FROM (SELECT * FROM django_hookflow_event WHERE run_uid = '{uid}' ORDER BY seq DESC LIMIT 1) AS event
        WHERE head.run_uid = event.run_uid
        """,
    )
