"""The banner that says that no relay works, and why each stuck run is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from django_hookflow.models import OutboxMessage
from tests.admin.history import add, sleep, start
from tests.admin.test_list_views import ago, move_outbox
from tests.admin.test_run_list import open_list, rows

if TYPE_CHECKING:
    from django.test import Client

    from tests.admin.page import Element

pytestmark = pytest.mark.django_db


def banner(page: Element) -> str:
    return " ".join(each.text for each in page.all("p", **{"class": "hookflow-banner"}))


def wait_since(run_id: str, **units: float) -> Any:
    run = start(run_id)
    move_outbox(run, due_at=ago(**units), send_at=ago(**units))
    return run


@pytest.fixture(autouse=True)
def inline(settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "inline"


def test_what_nobody_takes_is_said_with_the_command(superuser: Client) -> None:
    for number in range(5):
        wait_since(f"order-{number}", minutes=51 - number)
    move_outbox(start("asleep"), due_at=ago(hours=-1), send_at=ago(hours=-1))

    assert banner(open_list(superuser)).startswith(
        "No relay has worked for 51 min: 5 runs wait Keep this running: manage.py hookflow_relay"
    )


def test_what_is_due_for_a_moment_is_not(superuser: Client) -> None:
    wait_since("order-1", seconds=20)
    sleep(start("asleep"))

    assert banner(open_list(superuser)) == ""


def test_a_turn_that_has_begun_since_says_that_relays_are_behind(superuser: Client) -> None:
    wait_since("order-1", minutes=10)
    add(start("at work"), "turn.started", worker="w")

    assert banner(open_list(superuser)).startswith("Relays are 10 min behind: 2 runs wait")


def test_with_qstash_a_publication_that_was_lost_is_waited_for_longer(superuser: Client, settings: Any) -> None:
    settings.DJANGO_HOOKFLOW_TRANSPORT = "qstash"
    run = wait_since("order-1", minutes=4)
    assert banner(open_list(superuser)) == ""

    move_outbox(run, due_at=ago(minutes=20), send_at=ago(minutes=15))

    assert "No relay has worked for 15 min: 1 run waits" in banner(open_list(superuser))
    assert "manage.py hookflow_relay --once" in banner(open_list(superuser))


def test_each_stuck_row_says_why(superuser: Client) -> None:
    wait_since("never taken", minutes=51)
    vain = start("in vain")
    move_outbox(vain, due_at=ago(minutes=30), send_at=ago(minutes=-4), attempts=6)
    lost = start("lost")
    move_outbox(lost, due_at=ago(minutes=9), send_at=ago(minutes=8), turn_seq=2)
    assert OutboxMessage.objects.count() == 3

    why = {row["run"]: row["status_badge"] for row in rows(open_list(superuser, state="stuck"))}

    assert why == {
        "never taken": "Pending Its turn was due 51 min ago, and no relay has taken it.",
        "in vain": "Pending Its turn was due 30 min ago and sent 6 times, but has not started: see the workers' log.",
        "lost": "Pending Its worker was lost 8 min ago, and no relay has picked it up.",
    }
