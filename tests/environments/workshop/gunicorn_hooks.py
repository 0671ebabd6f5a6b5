"""gunicorn's configuration: tells a test the port, and what the workers' own handler of SIGTERM is like."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from django_hookflow.runtime import stopping

bind = "127.0.0.1:0"
worker_class = "gthread"
loglevel = "error"


def when_ready(server: Any) -> None:
    port = server.LISTENERS[0].sock.getsockname()[1]
    Path(os.environ["WORKSHOP_PORT_FILE"]).write_text(str(port), encoding="ascii")


def post_worker_init(worker: Any) -> None:
    """A host that wants its turns to end sooner passes its own signal on: four lines of its own configuration."""
    if "WORKSHOP_PASSES_SIGNAL_ON" in os.environ:
        own = signal.getsignal(signal.SIGTERM)

        def stop(signum: int, frame: Any) -> None:
            stopping.request_stop()
            own(signum, frame)  # type: ignore[operator]

        signal.signal(signal.SIGTERM, stop)
