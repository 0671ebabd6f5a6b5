"""A relay in a process of its own, for :mod:`benchmarks.latency`: ``python -m benchmarks.relaying CONNINFO``.

It runs turns inline until its input is closed.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from benchmarks import project

if TYPE_CHECKING:
    from django_hookflow.delivery.relay import Relay


def main(conninfo: str) -> None:
    project.configure(conninfo)
    from django_hookflow.delivery.relay import Relay
    from django_hookflow.runtime.receiving import receive
    from django_hookflow.runtime.turn import beginning

    project.trivial_workflow()
    project.sleeping_workflow()
    relay = Relay("inline", receive, beginning=beginning)
    threading.Thread(target=stop_at_end_of_input, args=[relay], daemon=True).start()
    print("relaying", flush=True)
    relay.run_forever()


def stop_at_end_of_input(relay: Relay) -> None:
    sys.stdin.read()
    relay.stop()


if __name__ == "__main__":
    main(sys.argv[1])
