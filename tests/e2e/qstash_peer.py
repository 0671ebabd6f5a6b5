"""QStash as qstash.md documents it, as far as the package uses it: ``POST /v2/publish/{url}`` and what follows from it.

It can be told to misbehave as a service of its kind does: to be down, to lose messages, to deliver them several times.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.e2e.courier import Courier, Message

TOKEN = "token-of-the-peer"
#: The public keys of QStash's development server: as long as real ones, which PyJWT minds.
CURRENT_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
NEXT_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
PUBLISH = "/v2/publish/"
DEDUPLICATION_WINDOW = 600.0

#: A status it answers everything with, or one of the ways not to answer.
Outage = int | Literal["refuse", "hang"]
Answer = tuple[int, dict[str, Any], dict[str, str]]


class QStashPeer:
    """``published`` are the messages it accepted, ``refused`` counts what it was sent while it was down.

    With ``delivers`` off, messages wait for the test to deliver them with ``courier.send``; the next ``losing`` messages
    are accepted and never delivered.
    """

    def __init__(self) -> None:
        self.courier = Courier(CURRENT_KEY)
        self.published: list[Message] = []
        self.refused = 0
        self.delivers = True
        self.losing = 0
        self._status = 0
        self._hangs = threading.Event()
        self._let_go = threading.Event()
        self._seen: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()
        self._placeholder: socket.socket | None = None
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def go_down(self, outage: Outage) -> None:
        if outage == "refuse":
            self._stop_listening()
            # Bound and not listening: connections are refused, and nobody else gets the port.
            self._placeholder = socket.socket()
            self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._placeholder.bind(("127.0.0.1", self.port))
        elif outage == "hang":
            self._let_go.clear()
            self._hangs.set()
        else:
            self._status = outage

    def come_back(self) -> None:
        self._status = 0
        self._hangs.clear()
        self._let_go.set()
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
            self._listen()

    def close(self) -> None:
        self.come_back()
        self._stop_listening()
        self.courier.close()

    def publish(self, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        """Status, body and headers to answer with; None for no answer at all."""
        if self._hangs.is_set():
            self.refused += 1
            self._let_go.wait()
            return None
        if self._status:
            self.refused += 1
            limits = {"RateLimit-Limit": "1000", "RateLimit-Remaining": "0"} if self._status == 429 else {}
            return self._status, {"error": "out of order"}, limits
        return self._accept(path, headers, body)

    def _accept(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "invalid token"}, {}
        destination = path.removeprefix(PUBLISH)
        if not path.startswith(PUBLISH) or not destination.startswith(("http://", "https://")):
            return 400, {"error": f"invalid destination url {destination}"}, {}
        message = Message(f"msg_{uuid.uuid4().hex}", destination, headers, body)
        try:
            message.delay()
        except ValueError as error:
            return 400, {"error": str(error)}, {}
        with self._lock:
            duplicate_of = self._note(message)
            if duplicate_of is not None:
                return 202, {"messageId": duplicate_of, "deduplicated": True}, {}
            self.published.append(message)
            is_lost = self.losing > 0
            self.losing -= is_lost
        if self.delivers and not is_lost:
            self.courier.accept(message)
        return 201, {"messageId": message.message_id}, {}

    def _note(self, message: Message) -> str | None:
        """The id of the message this one repeats, if it does."""
        name, now = message.deduplication_id, time.monotonic()
        at, message_id = self._seen.get(name, (-DEDUPLICATION_WINDOW, ""))
        if name and now - at < DEDUPLICATION_WINDOW:
            return message_id
        self._seen[name] = now, message.message_id
        return None

    def _listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), _handler_for(self))
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _stop_listening(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def _handler_for(peer: QStashPeer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = peer.publish(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            if answer is None:
                return
            status, content, headers = answer
            raw = json.dumps(content).encode()
            try:
                self.send_response(status)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(raw)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                return  # whoever published has died or lost patience

        def log_message(self, format: str, *args: object) -> None:
            """Tests look at what was published, not at stderr."""

    return Handler


@contextmanager
def running_peer() -> Iterator[QStashPeer]:
    peer = QStashPeer()
    try:
        yield peer
    finally:
        peer.close()
