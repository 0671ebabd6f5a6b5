"""The world outside the database: a payment service over HTTP that honours Idempotency-Key, and a bank without one."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class PaymentService:
    """``POST /`` charges once for each Idempotency-Key and answers a repetition as it answered the first time."""

    def __init__(self) -> None:
        #: By key: the bodies of all requests that carried it.
        self.requests: dict[str, list[Any]] = {}
        #: By key: what was charged. There is one for each key, whatever happens.
        self.charges: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="payments", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def charge(self, key: str, body: Any) -> Any:
        with self._lock:
            self.requests.setdefault(key, []).append(body)
            return self.charges.setdefault(key, {"charged": body["amount"], "for": body["nonce"]})

    def requests_of(self, run_id: str) -> dict[str, list[Any]]:
        """The bodies that came for a run, by idempotency key."""
        with self._lock:
            return {key: bodies for key, bodies in self.requests.items() if bodies[0]["run"] == run_id}

    def __enter__(self) -> PaymentService:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = json.dumps(service.charge(self.headers["Idempotency-Key"], body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Requests are counted, not logged."""

        return Handler


class Bank:
    """Transfers money and cannot tell a repetition from an order: what ``on_doubt="ask"`` is for."""

    def __init__(self) -> None:
        self.transfers: list[str] = []

    def transfer(self, run_id: str) -> str:
        self.transfers.append(run_id)
        return f"transferred for {run_id}"

    def made_sure(self, run_id: str) -> str:
        """What an operator does about a transfer in doubt: looks, and makes it if it was not made."""
        return f"transferred for {run_id}" if run_id in self.transfers else self.transfer(run_id)
