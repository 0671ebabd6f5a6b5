"""Searching the list of runs: by id, label, step, message, error, cause, or by something in their data.

What is typed is taken for a run's id or label, or for how one begins. ``step:charge`` finds runs in which that step has
done something, ``message:msg_…`` the run that a message was for, ``error:CardDeclined`` those that failed with an error
of that type, ``cause:…`` those of one cause, ``label:…`` those with a label that begins so, and
``data.customer.name:Grace`` is the business of :mod:`.data_search`. Each way is bounded: it looks along one index, at no
more than so many rows, and the note names what was left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connections

from django_hookflow.admin.counts import CAP
from django_hookflow.admin.run_list.data_search import TERM, CannotSearch, DataTerm, search_data
from django_hookflow.models import WorkflowRun
from django_hookflow.sql import load

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: Events that are looked through for a step or a message, from the newest; a tenth as many failures.
LOOKED_AT = 100_000
WITHHELD = "Searching in data needs the permission “Can see the payloads of workflow runs”."


@dataclass(frozen=True)
class Found:
    """The runs that a search has found, at most :data:`CAP`; ``note`` is what it has not looked at."""

    run_uids: list[UUID]
    note: str = ""


def find(term: str, runs: QuerySet[WorkflowRun], *, sees_payloads: bool) -> Found:
    """What is found among ``runs``, or among all; who may not see payloads cannot ask what is in them."""
    exact = find_exactly(term, runs.db)
    if exact:
        return capped(exact)
    kind, colon, rest = term.partition(":")
    if colon and rest.strip() and kind in WAYS:
        return WAYS[kind](rest.strip(), runs.db)
    try:
        if question := DataTerm.read(term[:1_000]):
            return find_by_data(question, runs) if sees_payloads else Found([], WITHHELD)
    except CannotSearch as error:
        return Found([], str(error))
    if term.startswith("msg_"):
        return find_by_message(term, runs.db)
    return find_beginnings(term, runs.db)


def looked_for(term: str) -> str:
    """What a search takes ``term`` for, in words."""
    kind, colon, rest = term.partition(":")
    if colon and rest.strip() and kind in WAYS:
        return {"error": "the type of an error", "cause": "the cause of a failure"}.get(kind, f"a {kind}")
    if TERM.fullmatch(term):
        return f"a value in the {term[:4] if term.startswith('data') else 'result'}"
    return "a run id or a label, or the beginning of one"


def find_exactly(term: str, using: str) -> list[UUID]:
    """The run that has this id, inside or outside, and those that have it for a label."""
    runs = WorkflowRun.objects.using(using).order_by().values_list("pk", flat=True)
    found = list(runs.filter(run_id=term[:256]))
    found += runs.filter(label=term[:256]).exclude(label="")[: CAP + 1]
    if uid := read_uuid(term):
        found += runs.filter(pk=uid)
    return found


def find_beginnings(term: str, using: str) -> Found:
    pattern = beginning(term)
    found = ask("list_by_id_start", using, pattern=pattern) + ask("list_by_label_start", using, pattern=pattern)
    return capped(found, "by id and label; type more characters to narrow it down")


def find_by_data(question: DataTerm, runs: QuerySet[WorkflowRun]) -> Found:
    found, note = search_data(question, runs)
    return Found(found[:CAP], f"{capped(found).note} {note}".strip())


def find_by_label(label: str, using: str) -> Found:
    return capped(ask("list_by_label_start", using, pattern=beginning(label)), "by label")


def find_by_cause(fingerprint: str, using: str) -> Found:
    return capped(ask("list_by_cause", using, fingerprint=fingerprint), "by latest failure")


def find_by_error(error_type: str, using: str) -> Found:
    found = [run_uid for _, run_uid in failures_with_error(error_type, using)]
    note = f"Searched for the error in the last {LOOKED_AT // 10:,} failures."
    return Found(capped(found).run_uids, note)


def failures_with_error(error_type: str, using: str) -> list[tuple[int, UUID]]:
    """The newest failures with an error of this type: the dead letter's key, and the run's."""
    with connections[using].cursor() as cursor:
        cursor.execute(load("list_by_error"), {"type": error_type, "looked_at": LOOKED_AT // 10})
        rows: list[tuple[int, UUID]] = cursor.fetchall()
    return rows


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


#: What a search may begin with, before a colon.
WAYS: dict[str, Callable[[str, str], Found]] = {
    "step": find_by_step,
    "message": find_by_message,
    "error": find_by_error,
    "cause": find_by_cause,
    "label": find_by_label,
}


def beginning(text: str) -> str:
    """The pattern of what begins with ``text``, taken literally."""
    return "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in text) + "%"


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
