"""Ten relays beside one that triggers as fast as it can: what the relays ask of the database, for each trigger."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Any

from benchmarks import project
from benchmarks.report import Figure

RELAYS = 10
#: Seconds in which relays that have nothing to do fall asleep.
QUIET = 3.0


def measure_herd(runs: int) -> list[Figure]:
    from django.db import connection, connections

    from django_hookflow.delivery.relay import Relay
    from django_hookflow.runtime.receiving import receive
    from django_hookflow.runtime.turn import beginning

    workflow = project.trivial_workflow()
    asked: list[str] = []

    def count(execute: Any, sql: str, *call: Any) -> Any:
        asked.append(sql)
        return execute(sql, *call)

    def live(relay: Relay) -> None:
        with ExitStack() as stack:
            stack.enter_context(connection.execute_wrapper(count))
            relay.run_forever()
        connections.close_all()

    relays = [Relay("inline", receive, concurrency=2, beginning=beginning) for _ in range(RELAYS)]
    threads = [threading.Thread(target=live, args=[relay]) for relay in relays]
    for thread in threads:
        thread.start()
    time.sleep(QUIET)
    asked.clear()
    began = time.monotonic()
    for _ in range(runs):
        workflow.trigger({"steps": 0})
    triggering = time.monotonic() - began
    while sum(relay.sent for relay in relays) < runs:
        time.sleep(0.05)
    looks = len(asked)
    for relay in relays:
        relay.stop()
    for thread in threads:
        thread.join()
    return [
        Figure(f"triggers beside {RELAYS} relays that run them", runs / triggering, "runs/s"),
        Figure(f"queries of {RELAYS} relays for work, of each trigger", looks / runs, "", at_most=2),
    ]
