"""Processes that are killed or stopped at a known point of a step, and what the next delivery makes of it.

The step itself says that it is at the point, by a request to a gate that lets it no further.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.courier import Attempt, Message
from tests.e2e.deployment import Deployment, Web
from tests.e2e.outside import Outside
from tests.e2e.qstash_peer import QStashPeer
from tests.waiting import wait_until

LEASE = 60
ABANDONED = ["turn.abandoned", "turn.started"]


class Delivery:
    """A delivery under way in a thread of its own."""

    def __init__(self, peer: QStashPeer, message: Message, web: Web) -> None:
        self._attempts: list[Attempt] = []
        self._thread = Thread(target=lambda: self._attempts.append(peer.courier.send(message, web.port)))
        self._thread.start()

    def is_under_way(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> Attempt:
        wait_until(lambda: self._attempts, "the delivery is answered")
        self._thread.join()
        return self._attempts[0]


def answer(attempt: Attempt) -> tuple[int | None, str]:
    return attempt.status, json.loads(attempt.answer).get("status", attempt.answer.decode())


def kill_at_gate(shop: Deployment, peer: QStashPeer, outside: Outside, gate: str) -> Message:
    """Delivers the one message there is, kills the process when it is at ``gate``, and opens the gate."""
    (message,) = peer.published
    outside.close_gate(gate)
    web = shop.webs[0]
    delivery = Delivery(peer, message, web)
    outside.wait_for_arrival(gate)
    shop.kill(web)
    assert delivery.end().status is None
    outside.open_gate(gate)
    return message


def test_kill_in_an_atomic_step_after_its_write(deploy: Deploy, peer: QStashPeer, outside: Outside) -> None:
    """Scenario 1. Neither row nor event is left; the next delivery leaves exactly one of each."""
    peer.delivers = False
    shop = deploy()
    run_id = shop.start("waiting", {"kind": "atomic"})
    message = kill_at_gate(shop, peer, outside, "written")
    assert shop.ledger(run_id) == []
    assert shop.events(run_id) == ["run.triggered", "turn.started"]

    web = shop.start_web()
    assert answer(peer.courier.send(message, web.port)) == (200, "busy")  # nobody can know yet that it is dead
    shop.advance(LEASE + 1)
    assert answer(peer.courier.send(message, web.port)) == (200, "completed")
    assert shop.ledger(run_id) == ["after", "work"]
    assert shop.events(run_id) == [
        *("run.triggered", "turn.started", *ABANDONED),
        *("step.completed work", "step.completed after", "run.completed"),
    ]


@pytest.mark.parametrize(
    ("workflow", "gate", "before", "after"),
    [
        ("charging-by-call", "bank", ["step.intended charge"], ["step.intended charge"]),
        ("charging-by-run", "charged", [], []),
    ],
)
def test_kill_after_a_request_and_before_its_record(
    deploy: Deploy, peer: QStashPeer, outside: Outside, workflow: str, gate: str, before: list[str], after: list[str]
) -> None:
    """Scenario 2. The bank has been asked twice with the same key, and the log shows that an attempt was lost."""
    peer.delivers = False
    shop = deploy()
    run_id = shop.start(workflow)
    message = kill_at_gate(shop, peer, outside, gate)
    assert len(outside.charges) == 1
    assert shop.events(run_id) == ["run.triggered", "turn.started", *before]

    web = shop.start_web()
    shop.advance(LEASE + 1)
    assert answer(peer.courier.send(message, web.port)) == (200, "completed")
    first, second = outside.charges
    assert first == second
    assert first.idempotency_key
    assert shop.events(run_id) == [
        *("run.triggered", "turn.started", *before, *ABANDONED),
        *(*after, "step.completed charge", "run.completed"),
    ]


def stop_in_step(shop: Deployment, peer: QStashPeer, outside: Outside, web: Web) -> Delivery:
    """Delivers the one message to ``web`` and stops the process in the step "work", its write done, its gate open."""
    (message,) = peer.published
    outside.close_gate("written")
    delivery = Delivery(peer, message, web)
    outside.wait_for_arrival("written")
    shop.freeze(web)
    outside.open_gate("written")
    return delivery


def deliver_until_taken_over(peer: QStashPeer, web: Web) -> None:
    """Delivers again and again, until the lease of the stopped process has run out and ``web`` has finished the run."""

    def finishes() -> bool:
        status, said = answer(peer.courier.send(peer.published[0], web.port))
        assert (status, said in ("busy", "completed")) == (200, True)
        return said == "completed"

    wait_until(finishes, "the other process has finished the run")


@pytest.mark.parametrize(("kind", "times_written"), [("atomic", 1), ("run", 2)])
def test_a_stopped_worker_wakes_up_after_another_has_finished_the_run(
    deploy: Deploy, peer: QStashPeer, outside: Outside, kind: str, times_written: int
) -> None:
    """Scenario 6. Its append is refused; what an atomic step of it wrote is rolled back; the log says it was abandoned."""
    peer.delivers = False
    shop = deploy(webs=2, DJANGO_HOOKFLOW_LEASE_SECONDS=1)
    stopped, other = shop.webs
    run_id = shop.start("waiting", {"kind": kind})
    first = stop_in_step(shop, peer, outside, stopped)
    deliver_until_taken_over(peer, other)
    story = shop.events(run_id)
    assert story == [
        *("run.triggered", "turn.started", *ABANDONED),
        *("step.completed work", "step.completed after", "run.completed"),
    ]
    assert first.is_under_way()
    shop.thaw(stopped)
    assert answer(first.end()) == (200, "lost")  # it has said so, and asks for no delivery
    shop.wait_until_disconnected()
    assert shop.ledger(run_id) == ["after", *["work"] * times_written]
    assert shop.events(run_id) == story
    assert shop.manage("hookflow_rebuild", "--check").returncode == 0


@pytest.mark.parametrize(("kind", "times_written"), [("atomic", 1), ("run", 2)])
def test_a_stopped_worker_wakes_up_while_another_is_at_work(
    deploy: Deploy, peer: QStashPeer, outside: Outside, kind: str, times_written: int
) -> None:
    """Scenario 6, with the run not yet at its end: only the fence tells the two workers apart."""
    peer.delivers = False
    shop = deploy(webs=2, DJANGO_HOOKFLOW_LEASE_SECONDS=1)
    stopped, other = shop.webs
    run_id = shop.start("waiting", {"kind": kind})
    first = stop_in_step(shop, peer, outside, stopped)
    outside.close_gate("written-after")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(deliver_until_taken_over, peer, other)
        try:
            outside.wait_for_arrival("written-after")
            shop.thaw(stopped)
            assert answer(first.end()) == (200, "lost")
            assert shop.ledger(run_id) == ["work"] * times_written
        finally:
            outside.open_gate("written-after")
        second.result()
    assert shop.ledger(run_id) == ["after", *["work"] * times_written]
    assert shop.events(run_id) == [
        *("run.triggered", "turn.started", *ABANDONED),
        *("step.completed work", "step.completed after", "run.completed"),
    ]
