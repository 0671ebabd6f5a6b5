"""A web process of one thread, for :mod:`benchmarks.webhook`: ``python -m benchmarks.serving CONNINFO MAX_AGE``.

``MAX_AGE`` is how many seconds a connection to the database is kept between requests, or ``None``. It serves until its input
is closed.
"""

from __future__ import annotations

import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from benchmarks import project

KEY = "the key that the relay and the web process of these benchmarks share"


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads that each request was answered."""


def main(conninfo: str, max_age: str) -> None:
    project.configure(conninfo)
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    settings.DATABASES["default"]["CONN_MAX_AGE"] = None if max_age == "None" else int(max_age)
    settings.QSTASH_CURRENT_SIGNING_KEY = KEY
    project.trivial_workflow()
    server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Handler)
    settings.DJANGO_HOOKFLOW_DOMAIN = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=stop_at_end_of_input, args=[server], daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


def stop_at_end_of_input(server: object) -> None:
    sys.stdin.read()
    server.shutdown()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
