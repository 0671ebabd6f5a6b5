"""What workflows reach beyond their own process: a bank, and gates at which a step waits until the test lets it pass.

A gate is how a test knows that a process is at a certain point, and keeps it there while it is killed or stopped.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.waiting import wait_until


@dataclass(frozen=True)
class Charge:
    """A request the bank has taken: the money has moved, whether or not the answer arrives."""

    idempotency_key: str
    authorization: str
    body: bytes


class Outside:
    """``POST /charges/`` is taken by the bank, and answered when the gate ``bank`` is open; ``GET /gates/NAME`` waits."""

    def __init__(self) -> None:
        self.charges: list[Charge] = []
        self._arrived: Counter[str] = Counter()
        self._gates: dict[str, threading.Event] = {}
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close_gate(self, name: str) -> None:
        self._gates[name] = threading.Event()

    def open_gate(self, name: str) -> None:
        """Lets those who wait pass, and everyone after them."""
        self._gates[name].set()

    def wait_for_arrival(self, name: str, count: int = 1) -> None:
        """Returns when the gate has been reached so many times in all."""
        wait_until(lambda: self._arrived[name] >= count, f"arrival {count} at the gate {name!r}")

    def pass_gate(self, name: str) -> None:
        self._arrived[name] += 1
        if name in self._gates:
            self._gates[name].wait()

    def close(self) -> None:
        for gate in self._gates.values():
            gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def _handler_for(outside: Outside) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            outside.pass_gate(self.path.rpartition("/")[2])
            self._answer(b"{}")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            key, authorization = (self.headers.get(name, "") for name in ("Idempotency-Key", "Authorization"))
            outside.charges.append(Charge(key, authorization, body))
            outside.pass_gate("bank")
            self._answer(b'{"paid": true}')

        def _answer(self, content: bytes) -> None:
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                return  # whoever asked was killed meanwhile

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at what arrived, not at stderr."""

    return Handler


@contextmanager
def running_outside() -> Iterator[Outside]:
    outside = Outside()
    try:
        yield outside
    finally:
        outside.close()
