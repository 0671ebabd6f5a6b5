"""A relay in a process of its own, for :mod:`benchmarks.latency`: ``python -m benchmarks.relaying CONNINFO [PORT]``.

It runs turns inline, or sends messages to the web process that listens on ``PORT``, until its input is closed.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from benchmarks import project
from benchmarks.serving import KEY

if TYPE_CHECKING:
    from django_hookflow.delivery.relay import Relay


def main(conninfo: str, port: str | None = None) -> None:
    project.configure(conninfo)
    from django.conf import settings

    from django_hookflow.delivery.relay import Relay
    from django_hookflow.runtime.receiving import receive
    from django_hookflow.runtime.turn import beginning

    project.trivial_workflow()
    project.sleeping_workflow()
    if port is not None:
        settings.QSTASH_CURRENT_SIGNING_KEY = KEY
        settings.DJANGO_HOOKFLOW_DOMAIN = f"http://127.0.0.1:{port}"
    relay = Relay("inline" if port is None else "http", receive, beginning=beginning)
    threading.Thread(target=stop_at_end_of_input, args=[relay], daemon=True).start()
    print("relaying", flush=True)
    relay.run_forever()


def stop_at_end_of_input(relay: Relay) -> None:
    sys.stdin.read()
    relay.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
