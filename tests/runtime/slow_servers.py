"""Servers that take their time or say what no server should, byte by byte."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds between two bytes.
PAUSE = 0.02


class Trickle:
    """Says ``at_once``, then ``slowly`` again and again, a byte at a time; ``gone`` is set when the client has left."""

    def __init__(self, at_once: bytes, slowly: bytes = b"") -> None:
        self.at_once, self.slowly = at_once, slowly
        self.gone = threading.Event()
        self.heads: list[bytes] = []
        self._closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def serve(self) -> None:
        with suppress(OSError):
            while not self._closing.is_set():
                client, _ = self._socket.accept()
                with client, suppress(OSError):
                    self.heads.append(read_request(client))
                    client.sendall(self.at_once)
                    while self.slowly and not self._closing.is_set():
                        for byte in self.slowly:
                            client.sendall(bytes([byte]))
                            if self._closing.wait(PAUSE):
                                break
                self.gone.set()

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def read_request(client: socket.socket) -> bytes:
    """A request's head. Its body is read as well: who closes a connection with something unread in it resets it."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (data := client.recv(65_536)):
            return received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    while length and len(body) < int(length[1]) and (data := client.recv(65_536)):
        body += data
    return head


@contextmanager
def trickling(at_once: bytes, slowly: bytes = b"") -> Iterator[Trickle]:
    server = Trickle(at_once, slowly)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
