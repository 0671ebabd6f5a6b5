"""Work that is done beside the test, on a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection


def in_another_session(work: Callable[[], object]) -> None:
    """Does ``work`` in a thread, and so on a connection, of its own, and waits for it."""

    def act() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
