"""An HTTP server for tests, that records what it is sent and answers as it is told."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b'{"messageId":"msg_1"}'
    headers: dict[str, str] = field(default_factory=dict)


class Hang(Answer):
    """No answer until the server is told to let go."""


class Server:
    """``answers`` are given in turn, then ``Answer()`` for ever; ``received`` holds what came in."""

    def __init__(self) -> None:
        self.received: list[Request] = []
        self.answers: deque[Answer] = deque()
        self.otherwise = Answer()
        self.let_go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.02)

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                self.do_POST()

            def do_GET(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                server.received.append(
                    Request(self.path, {k.title(): v for k, v in self.headers.items()}, body, self.command)
                )
                answer = server.answers.popleft() if server.answers else server.otherwise
                if isinstance(answer, Hang):
                    server.let_go.wait(60)
                try:
                    self._respond(answer)
                except (BrokenPipeError, ConnectionResetError):
                    return  # the client did not wait for it

            def _respond(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                """Tests look at ``received``, not at stderr."""

        return Handler


@contextmanager
def running_server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()
