"""GitHub's dispatch endpoint as documented, on a local port, with one repository, one workflow file and its inputs.

It checks what GitHub checks, in GitHub's order, and answers as GitHub does. ``answers`` lets a test put an answer of its
own in front: (status, headers, body), or a function that is given the connection and may do to it what it likes.
"""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

    Answer = tuple[int, dict[str, str], bytes] | Callable[[socket.socket], None]

TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ456789"
ROUTE = re.compile(r"/repos/([^/]+)/([^/]+)/actions/workflows/([^/]+)/dispatches")
RUN = {
    "workflow_run_id": 22776190,
    "run_url": "https://api.github.com/repos/octo/shop/actions/runs/22776190",
    "html_url": "https://github.com/octo/shop/actions/runs/22776190",
}


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class GitHub:
    """The server. ``enterprise`` makes it answer 204, as servers that do not know the newest API version do."""

    enterprise: bool = False
    requests: list[Seen] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)

    def __enter__(self) -> GitHub:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                github._handle(self)

            def do_GET(self) -> None:
                github._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        seen = Seen(handler.command, handler.path, dict(handler.headers), body)
        self.requests.append(seen)
        answer = self.answers.popleft() if self.answers else self._decide(seen)
        if callable(answer):
            answer(handler.connection)
            handler.close_connection = True
            return
        status, headers, content = answer
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def _decide(self, seen: Seen) -> Answer:
        if seen.headers.get("Authorization") != f"Bearer {TOKEN}":
            return say(401, "Bad credentials")
        route = ROUTE.fullmatch(seen.path)
        if seen.method != "POST" or route is None:
            return say(404, "Not Found")
        if (route[1], route[2], unquote(route[3])) != ("octo", "shop", "deploy.yml"):
            return say(404, "Not Found")
        if seen.json.get("ref") not in ("main", "v1"):
            return say(422, f"No ref found for: {seen.json.get('ref')}")
        unexpected = [name for name in seen.json.get("inputs", {}) if name not in ("environment", "dry_run", "count")]
        if unexpected:
            return say(422, f"Unexpected inputs provided: {unexpected}")
        return (204, {}, b"") if self.enterprise else (200, {}, json.dumps(RUN).encode())


def say(status: int, message: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """An answer in GitHub's form. ``Retry_After="5"`` becomes the header ``Retry-After``."""
    body = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
