"""A threaded WSGI server: ``python -m tests.e2e.serve FILE``, which it tells the port it has been given."""

from __future__ import annotations

import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.wsgi import get_wsgi_application


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Only errors are worth reading when a test has failed."""


def main() -> None:
    server = make_server("127.0.0.1", 0, get_wsgi_application(), Server, Handler)
    Path(sys.argv[1]).write_text(str(server.server_port), encoding="ascii")
    server.serve_forever()


if __name__ == "__main__":
    main()
