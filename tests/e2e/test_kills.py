"""kill -9, again and again, under running runs, with nobody's help but a relay's."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, Web
from tests.e2e.qstash_peer import QStashPeer
from tests.e2e.test_deliveries import check_log_is_gapless
from tests.waiting import wait_until

RUNS = 40
KILLS = 5
LEASE = 2
#: Of one step. Long enough that each kill finds runs at work, short enough for a test.
STEP_SECONDS = 0.3


def kill_at_work(shop: Deployment, web: Web) -> int:
    """Kills a web process that has at least two runs in hand; returns how many it has taken with it."""
    in_hand = "SELECT count(*) FROM django_hookflow_lease WHERE owner LIKE %s AND expires_at > hookflow_now()"
    owner = f"%:{web.child.pid}"
    wait_until(lambda: shop.database.value(in_hand, owner) >= 2, "the web process has runs in hand")
    shop.kill(web)
    # A lease goes with the event that ends its turn: those that are left, nobody will end.
    return int(shop.database.value("SELECT count(*) FROM django_hookflow_lease WHERE owner LIKE %s", owner))


@pytest.mark.slow
def test_five_kills_under_forty_runs_of_ten_steps(deploy: Deploy, peer: QStashPeer) -> None:
    shop = deploy(webs=2, DJANGO_HOOKFLOW_LEASE_SECONDS=LEASE, DJANGO_HOOKFLOW_OVERDUE_SECONDS=3)
    shop.start_relay()
    peer.courier.employ(8)
    run_ids = shop.start_all("ten-steps", [(f"run-{number}", {"seconds": STEP_SECONDS}) for number in range(RUNS)])
    interrupted = 0
    for _ in range(KILLS):
        taken = kill_at_work(shop, shop.webs[0])
        assert taken > 0
        interrupted += taken
        shop.start_web()
    shop.wait_for_completion(RUNS, timeout=90)

    check_log_is_gapless(shop)
    abandoned = shop.database.value("SELECT count(*) FROM django_hookflow_event WHERE type = 'turn.abandoned'")
    assert abandoned >= interrupted  # more only where a loaded machine could not renew a lease in time
    check_steps(shop, run_ids)
    done = shop.manage("hookflow_rebuild", "--check")
    assert (done.returncode, done.stdout) == (0, f"{RUNS} runs compared with the log: no differences\n")
    assert shop.database.value("SELECT count(*) FROM django_hookflow_outbox") == 0
    assert "Traceback" not in shop.log()


def check_steps(shop: Deployment, run_ids: list[str]) -> None:
    """Every step recorded once; every atomic step's effect there once; every plain step's at least once."""
    steps = [f"step-{number}" for number in range(10)]
    for run_id in run_ids:
        completed = [event.split()[1] for event in shop.events(run_id) if event.startswith("step.completed")]
        assert completed == steps
        written = shop.ledger(run_id)
        assert [step for step in written if int(step[-1]) % 2] == steps[1::2]
        assert set(written) == set(steps)
