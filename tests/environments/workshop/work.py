"""What the workflows do in their steps."""

from __future__ import annotations

import asyncio
import os
import time

import requests
from asgiref.sync import sync_to_async

from tests.testapp.models import LedgerEntry


class Unready(Exception):
    """What fails at first and passes later."""


def enter(run_id: str, step: str, seconds: float = 0) -> str:
    """Writes, and then takes its time."""
    LedgerEntry.objects.create(account=run_id, amount=1, reference=step)
    time.sleep(seconds)
    return step


def enter_and_wait(run_id: str, step: str, gate: str = "written") -> str:
    """Writes, and then goes no further until the test says so."""
    enter(run_id, step)
    pass_gate(gate)
    return step


def fail_at_first(run_id: str, step: str) -> str:
    """Writes in any case, and fails the first time."""
    enter(run_id, step)
    if LedgerEntry.objects.filter(account=run_id, reference=step).count() == 1:
        raise Unready(step)
    return step


def read_ledger(run_id: str) -> list[str]:
    """By ``iterator()``, for which Django uses a cursor on the server unless told not to."""
    entries = LedgerEntry.objects.filter(account=run_id).order_by("id").iterator(chunk_size=2)
    return [entry.reference for entry in entries]


def lock_both(run_id: str) -> None:
    """Locks an entry named "first", lets the test lock one named "second", and wants that too."""
    enter(run_id, "lock")
    LedgerEntry.objects.select_for_update().get(reference="first")
    pass_gate("first-locked")
    LedgerEntry.objects.select_for_update().get(reference="second")


def pass_gate(name: str) -> None:
    requests.get(f"{os.environ['WORKSHOP_OUTSIDE_URL']}/gates/{name}", timeout=60)


async def enter_later(run_id: str, step: str) -> None:
    """As :func:`enter`, from async code."""
    await asyncio.sleep(0.05)
    await sync_to_async(enter)(run_id, step)
