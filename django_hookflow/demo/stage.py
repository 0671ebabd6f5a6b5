"""What the story is played on: PostgreSQL, a web process and a relay, each a child that cannot outlive this process.

The web process is Django's own ``runserver --noreload``: one process with a thread per request, so kill -9 hits
exactly what serves the webhook, and it serves the admin's static files without a build step.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from django_hookflow.demo.postgres import EmbeddedPostgres, attempts_until
from django_hookflow.demo.processes import Child
from django_hookflow.exceptions import HookFlowException

if TYPE_CHECKING:
    from pathlib import Path

    from django_hookflow.demo.postgres import Address

START_TIMEOUT = 30.0


class DemoFailed(HookFlowException):
    """A process of the demo did not start or did not stay; the message holds the end of what it wrote."""

    @classmethod
    def at(cls, name: str, what: str, log: Path) -> DemoFailed:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:] if log.exists() else ""
        return cls(f"the {name} {what}; its output:\n{said or '(nothing)'}")


class Stage:
    """Entered, PostgreSQL runs with the demo's tables in it; the other two are started by the story."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.password = secrets.token_hex(4)
        self.postgres = EmbeddedPostgres()
        self.web: Child | None = None
        self.relay: Child | None = None
        self._exits = ExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Stage:
        with ExitStack() as exits:
            address = exits.enter_context(self.postgres)
            exits.callback(close_connections)
            os.environ.update(environment(address, self.port))
            prepare_database(self.password)
            exits.callback(self._stop_children)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start_web(self) -> Child:
        """Start the web process, or start it again; returns when it answers."""
        self.web = self._spawn("web", "runserver", "--noreload", "--insecure", f"127.0.0.1:{self.port}")
        for _ in attempts_until(time.monotonic() + START_TIMEOUT):
            if not self.web.is_running():
                break
            if is_listening(self.port):
                return self.web
        raise DemoFailed.at("web process", "did not start", self._log("web"))

    def start_relay(self) -> Child:
        self.relay = self._spawn("relay", "hookflow_relay", "--transport", "http")
        return self.relay

    def check_alive(self) -> None:
        for name, child in (("web", self.web), ("relay", self.relay)):
            if child is not None and not child.is_running():
                raise DemoFailed.at(
                    f"{name} process", f"exited with status {child.process.returncode}", self._log(name)
                )

    def _spawn(self, name: str, *command: str) -> Child:
        with self._log(name).open("ab") as log:
            # Nothing is lost when these two are killed: that is what the demo is about.
            return Child([sys.executable, "-m", "django", *command], output=log, death_signal=signal.SIGKILL)

    def _log(self, name: str) -> Path:
        assert self.postgres.run_directory is not None
        return self.postgres.run_directory / f"{name}.log"

    def _stop_children(self) -> None:
        for child in (self.relay, self.web):
            if child is not None:
                child.stop(timeout=5)


def environment(address: Address, port: int) -> dict[str, str]:
    """What ``settings.py`` asks the environment for; this process and its children share it."""
    return {
        "DJANGO_SETTINGS_MODULE": "django_hookflow.demo.settings",
        "HOOKFLOW_DEMO_DATABASE_URL": address.url(),
        "HOOKFLOW_DEMO_PORT": str(port),
        "HOOKFLOW_DEMO_SECRET": secrets.token_hex(16),
    }


def prepare_database(password: str) -> None:
    import django  # settings are complete only now that the database has an address

    django.setup()

    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_superuser(username="admin", password=password)


def close_connections() -> None:
    from django.db import connections

    connections.close_all()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
