"""A proxy between Django and PostgreSQL that counts statements and cuts the connection at a chosen one.

A *statement* is what the server answers with ReadyForQuery: the start of a session, a simple query, or a group of
extended-protocol messages up to Sync. So BEGIN, COMMIT, SAVEPOINT and what a driver sends on its own account are
statements like any other, which no hook inside Django would show. Cut *before*, the server has never seen the statement;
cut *after*, it has done it, and the client never hears of it.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

Side = Literal["before", "after"]

CONNECT = "(connect)"
_PASS, _STARTUP = "pass", b""
#: Messages of the client that the server answers with ReadyForQuery: Query, Sync.
_ENDS_STATEMENT = (b"Q", b"S")


@dataclass(frozen=True)
class Cut:
    """Where to cut: at the ``at``-th statement seen (from 0). ``for_good``: nothing gets through until the watch ends."""

    at: int
    side: Side
    for_good: bool

    def __str__(self) -> str:
        return f"{self.side} statement {self.at}, {'the worker dies' if self.for_good else 'the worker reconnects'}"


class Wire:
    """Listens on ``port`` of 127.0.0.1 and passes everything on to the server at ``host`` (maybe a directory), ``server_port``."""

    def __init__(self, host: str, server_port: int) -> None:
        self._server = (host, server_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        self._watching = False
        self._dead = False
        self._cut: Cut | None = None
        #: What was seen while watching, in order.
        self.statements: list[str] = []

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, name="wire", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _close(self._listener)
        for link in self._links:
            link.close()
            link.join()

    def start_over(self, cut: Cut | None = None) -> None:
        """Counts from 0 again, and cuts where ``cut`` says."""
        with self._lock:
            self.statements, self._cut = [], cut

    @property
    def has_cut(self) -> bool:
        return self._cut is not None and len(self.statements) > self._cut.at

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Statements count, and may be cut, while in this context."""
        self._watching = True
        try:
            yield
        finally:
            with self._lock:
                self._watching = self._dead = False

    def decide(self, statement: str) -> str:
        """What becomes of a statement that a client has sent: ``pass``, ``before`` or ``after``."""
        with self._lock:
            if not self._watching:
                return _PASS
            if self._dead:
                return "before"
            self.statements.append(statement)
            cut = self._cut
            if cut is None or len(self.statements) - 1 != cut.at:
                return _PASS
            self._dead = cut.for_good
            return cut.side

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links = [link for link in self._links if link.is_open()]
            self._links.append(_Link(self, client, _dial(*self._server)))


class _Link:
    """One session: a client, its server, and a thread for each direction."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = server
        self._cut_at_ready = False
        self._threads = [
            threading.Thread(target=self._pump, args=(direction,), name="wire-link", daemon=True)
            for direction in (self._upwards, self._downwards)
        ]
        for thread in self._threads:
            thread.start()

    def is_open(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        _close(self._client)
        _close(self._server)

    def _pump(self, direction: Callable[[], None]) -> None:
        try:
            with suppress(OSError):
                direction()
        finally:
            self.close()

    def _upwards(self) -> None:
        text, waiting = "", bytearray()
        for kind, message in _messages(self._client, startup=True):
            waiting += message
            text = _text(kind, message) or text
            if kind in (_STARTUP, *_ENDS_STATEMENT):
                verdict = self._wire.decide(text)
                if verdict == "before":
                    return
                self._cut_at_ready = verdict == "after"
                text = ""
            if kind in (_STARTUP, *_ENDS_STATEMENT, b"p", b"X"):
                self._server.sendall(waiting)
                waiting.clear()

    def _downwards(self) -> None:
        authenticating, answer = True, bytearray()
        for kind, message in _messages(self._server):
            answer += message
            if kind == b"Z" and self._cut_at_ready:
                return
            if kind == b"Z" or authenticating:
                self._client.sendall(answer)
                answer.clear()
                authenticating = authenticating and kind != b"Z"
        self._client.sendall(answer)  # what a server says before it hangs up


def _messages(source: socket.socket, *, startup: bool = False) -> Iterator[tuple[bytes, bytes]]:
    """The messages of the protocol (type byte, whole message); the first of a client has no type."""
    with source.makefile("rb") as stream:
        while True:
            kind = _STARTUP if startup else stream.read(1)
            length = stream.read(4)
            if len(length) < 4:
                return
            yield kind, kind + length + stream.read(struct.unpack("!I", length)[0] - 4)
            startup = False


def _text(kind: bytes, message: bytes) -> str:
    """The SQL of a Query or Parse message, what stands for it otherwise; empty for what names nothing."""
    if kind == _STARTUP:
        return CONNECT
    if kind == b"Q":
        return message[5:-1].decode()
    return message[5:].split(b"\0")[1].decode() if kind == b"P" else ""


def _dial(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        connection = socket.create_connection((host, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{host}/.s.PGSQL.{port}")
    return connection


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
