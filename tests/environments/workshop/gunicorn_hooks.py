"""gunicorn's configuration: tells a test the port, and when the worker has been told to stop."""

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
    """Puts a handler of the host's around gunicorn's, which says that the signal is there, and may pass it on."""
    of_gunicorn = signal.getsignal(signal.SIGTERM)
    assert callable(of_gunicorn)

    def stop(signum: int, frame: Any) -> None:
        if "WORKSHOP_PASSES_SIGNAL_ON" in os.environ:
            stopping.request_stop()
        of_gunicorn(signum, frame)
        Path(os.environ["WORKSHOP_PORT_FILE"]).with_suffix(".stopping").touch()

    signal.signal(signal.SIGTERM, stop)
