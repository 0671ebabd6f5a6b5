"""As startproject writes it; run as a module, uvicorn serves it: ``python -m … FILE``, which it tells its port."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import uvicorn
from django.core.asgi import get_asgi_application

application = get_asgi_application()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    Path(sys.argv[1]).write_text(str(listener.getsockname()[1]), encoding="ascii")
    uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off")).run(sockets=[listener])


if __name__ == "__main__":
    main()
