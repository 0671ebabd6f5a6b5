"""A crash at every statement of ``trigger()``: the run exists if and only if the transaction it belongs to committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from django_hookflow.models import Head, OutboxMessage, WorkflowEvent, WorkflowRun
from django_hookflow.testing import Hookflow
from tests.crashes.evidence import evidence_against
from tests.crashes.order import order
from tests.crashes.outside import PaymentService
from tests.crashes.wire import Cut, Side, Wire
from tests.testapp.models import LedgerEntry

pytestmark = pytest.mark.django_db(transaction=True)

SIDES: tuple[Side, ...] = ("before", "after")


def place_order(run_id: str, data: dict[str, object]) -> None:
    """What a user's view does: a row of its own and a run, together."""
    with transaction.atomic():
        LedgerEntry.objects.create(account=f"{run_id}/order", amount=1)
        with transaction.atomic():
            order.trigger(data, run_id=run_id)


def trigger_alone(run_id: str, data: dict[str, object]) -> None:
    order.trigger(data, run_id=run_id)


def attempt(wire: Wire, cut: Cut | None, place: Callable[[], None]) -> bool:
    """Whether the caller heard that it had succeeded."""
    wire.start_over(cut)
    connection.close()
    try:
        with wire.watched():
            place()
    except (OperationalError, InterfaceError):
        return False
    finally:
        if cut:
            connection.close()
    return True


def rows_of(run_id: str) -> list[int]:
    """How many rows of a run there are in each table that a trigger writes."""
    uids = list(Head.objects.filter(run_id=run_id).values_list("run_uid", flat=True))
    return [
        len(uids),
        WorkflowRun.objects.filter(run_id=run_id).count(),
        WorkflowEvent.objects.filter(workflow_run__run_id=run_id).count(),
        OutboxMessage.objects.filter(run_uid__in=uids).count(),
    ]


@pytest.mark.parametrize("place", [place_order, trigger_alone])
def test_a_crash_at_every_statement_of_a_trigger(
    hookflow: Hookflow,
    wire: Wire,
    payments: PaymentService,
    place: Callable[[str, dict[str, object]], None],
    record_property: Callable[[str, object], None],
) -> None:
    data: dict[str, object] = {"amount": 1, "payments": payments.url}
    assert attempt(wire, None, partial(place, "undisturbed", data))
    statements = list(wire.statements)
    cuts = [Cut(at, side, for_good=True) for at in range(len(statements)) for side in SIDES]
    # The transaction commits with its COMMIT, or with the statement itself when there is none.
    commit = max(at for at, text in enumerate(statements) if text == "COMMIT" or "hookflow_start" in text)
    for cut in cuts:
        run_id = f"order-{cut.at}-{cut.side}"
        told = f"{cut}: {statements[cut.at]:.80}"
        heard = attempt(wire, cut, partial(place, run_id, data))
        assert wire.has_cut, told
        committed = cut.at > commit or (cut.at == commit and cut.side == "after")
        assert rows_of(run_id) == [int(committed)] * 4, told
        if place is place_order:
            assert LedgerEntry.objects.filter(account=f"{run_id}/order").count() == int(committed), told
        assert not heard or committed, told
        # Who was not told asks again, with the same id, and it is the same run.
        trigger_alone(run_id, data)
        assert rows_of(run_id) == [1] * 4, told
        for name in ("hint", "approval"):
            WorkflowRun.objects.get(run_id=run_id).signal(name)
        assert hookflow.drive(run_id).status == "completed", told
        assert evidence_against(WorkflowRun.objects.get(run_id=run_id)) == [], told
    record_property("crash points", f"{len(statements)} statements of a trigger, {len(cuts)} crash points")
