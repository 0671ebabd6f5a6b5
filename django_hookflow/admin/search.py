"""Searching the list of runs: by id, label, step or message.

What is typed is taken for a run's id or label, or for how one begins. ``step:charge`` finds runs in which that step has
done something, ``message:msg_…`` the run that a message was for. Each way is bounded: it looks along one index, at no
more than so many rows, and the note names what was left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections

from django_hookflow.admin.counts import CAP
from django_hookflow.models import WorkflowRun
from django_hookflow.sql import load

#: Events that are looked through for a step or a message, from the newest; a tenth as many failures.
LOOKED_AT = 100_000


@dataclass(frozen=True)
class Found:
    """The runs that a search has found, at most :data:`CAP`; ``note`` is what it has not looked at."""

    run_uids: list[UUID]
    note: str = ""


def find(term: str, using: str) -> Found:
    kind, colon, rest = term.partition(":")
    if colon and rest and kind == "step":
        return find_by_step(rest.strip(), using)
    if colon and rest and kind == "message":
        return find_by_message(rest.strip(), using)
    exact = find_exactly(term, using)
    if exact:
        return capped(exact)
    if term.startswith("msg_"):
        return find_by_message(term, using)
    return find_beginnings(term, using)


def find_exactly(term: str, using: str) -> list[UUID]:
    """The run that has this id, inside or outside, and those that have it for a label."""
    runs = WorkflowRun.objects.using(using).order_by().values_list("pk", flat=True)
    found = list(runs.filter(run_id=term[:256]))
    found += runs.filter(label=term[:256]).exclude(label="")[: CAP + 1]
    if uid := read_uuid(term):
        found += runs.filter(pk=uid)
    return found


def find_beginnings(term: str, using: str) -> Found:
    pattern = "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in term) + "%"
    found = ask("list_by_id_start", using, pattern=pattern) + ask("list_by_label_start", using, pattern=pattern)
    return capped(
        found, "in the order of their ids and labels, and not all that begin so: a longer beginning finds more"
    )


def find_by_step(step_id: str, using: str) -> Found:
    found = ask("list_by_step", using, step_id=step_id, looked_at=LOOKED_AT)
    note = f"Searched for the step in the last {LOOKED_AT:,} events and the last {LOOKED_AT // 10:,} failures."
    return Found(capped(found).run_uids, note)


def find_by_message(message_id: str, using: str) -> Found:
    """A message that this package signed itself names its run; one of QStash's is looked for where it was received."""
    uid = read_uuid(message_id.removeprefix("msg_")[:36])
    if uid and WorkflowRun.objects.using(using).filter(pk=uid).exists():
        return Found([uid])
    found = ask("list_by_message", using, message_id=message_id, looked_at=LOOKED_AT)
    return Found(found[:CAP], f"Searched for the message in the last {LOOKED_AT:,} events.")


def capped(found: list[UUID], what: str = "") -> Found:
    once = list(dict.fromkeys(found))
    if len(once) <= CAP:
        return Found(once)
    return Found(once[:CAP], f"These are the first {CAP:,} {what}".rstrip() + ".")


def ask(statement: str, using: str, **parameters: Any) -> list[UUID]:
    with connections[using].cursor() as cursor:
        cursor.execute(load(statement), {"limit": CAP + 1, **parameters})
        return [run_uid for (run_uid,) in cursor.fetchall()]


def read_uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None
